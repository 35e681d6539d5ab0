# bash completion for loopfs(1)
_loopfs() {
  local cur prev words cword
  _init_completion -n : || return

  local i command=
  for ((i = 1; i < cword; i++)); do
    case ${words[i]} in
      run | doctor) command=${words[i]}; break ;;
    esac
  done
  if [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'run doctor --help --version' -- "$cur")
    return
  fi

  # Behind the options of `run` stands another command with its own completion.
  if [[ $command == run ]]; then
    for ((i++; i < cword; i++)); do
      case ${words[i]} in
        --) _command_offset $((i + 1)); return ;;
        --root | --bind | --max | --engine | --config) ((i++)) ;;
        -*) ;;
        *) _command_offset "$i"; return ;;
      esac
    done
  fi

  case $prev in
    --root) _filedir -d; return ;;
    --bind | --config) _filedir; return ;;
    --engine) mapfile -t COMPREPLY < <(compgen -W 'user' -- "$cur"); return ;;
    --max) return ;;
  esac
  if [[ $cur == -* ]]; then
    local options='--help --config'
    [[ $command == run ]] && options+=' --root --bind --max --engine --quiet -q --'
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ $command == run ]]; then
    mapfile -t COMPREPLY < <(compgen -c -- "$cur")
  fi
}
complete -F _loopfs loopfs
