# bash completion for loopfs(1)
_loopfs() {
  local cur prev words cword
  _init_completion -n : || return

  local i command=
  for ((i = 1; i < cword; i++)); do
    case ${words[i]} in
      run | doctor | ls | inspect | events | limit | attach | detach) command=${words[i]}; break ;;
    esac
  done
  if [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'run doctor ls inspect events limit attach detach --help --version' -- "$cur")
    return
  fi

  # Behind the options of `run` stands another command with its own completion.
  if [[ $command == run ]]; then
    for ((i++; i < cword; i++)); do
      case ${words[i]} in
        --) _command_offset $((i + 1)); return ;;
        --root | --bind | --max | --engine | --socket | --config) ((i++)) ;;
        -*) ;;
        *) _command_offset "$i"; return ;;
      esac
    done
  fi

  case $prev in
    --root | --instance) _filedir -d; return ;;
    --bind | --config | --socket) _filedir; return ;;
    --kind) mapfile -t COMPREPLY < <(compgen -W 'devices instances' -- "$cur"); return ;;
    --direct-io) mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$cur"); return ;;
    --uid) mapfile -t COMPREPLY < <(compgen -W "$(getent passwd | cut -d: -f3)" -- "$cur"); return ;;
    --engine) mapfile -t COMPREPLY < <(compgen -W 'user kernel' -- "$cur"); return ;;
    --max | --offset | --sizelimit | --block-size) return ;;
  esac
  if [[ $cur == -* ]]; then
    local options=--help
    case $command in
      run) options+=' --root --bind --max --engine --socket --config --quiet -q --' ;;
      doctor) options+=' --config --socket' ;;
      ls) options+=' --all -a --json --socket' ;;
      inspect | events) options+=' --json --socket' ;;
      limit) options+=' --json --socket --kind --uid' ;;
      attach) options+=' --instance --offset --sizelimit --read-only -r --partscan -P --direct-io --block-size' ;;
      detach) options+=' --instance' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ $command == run ]]; then
    mapfile -t COMPREPLY < <(compgen -c -- "$cur")
  elif [[ $command == attach || $command == detach ]]; then
    _filedir
  elif [[ $command == limit ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'default' -- "$cur")
  elif [[ $command == inspect ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(loopfs ls 2>/dev/null | awk 'NR > 1 {print $1}' | sort -un)" -- "$cur")
  fi
}
complete -F _loopfs loopfs
