# fish completion for loopfs(1)
complete -c loopfs -f
complete -c loopfs -n __fish_use_subcommand -a run -d 'Run a command with loop devices of its own'
complete -c loopfs -n __fish_use_subcommand -a doctor -d 'Tell what this machine has and lacks'
complete -c loopfs -n __fish_use_subcommand -l version -d 'Show the version'
complete -c loopfs -s h -l help -d 'Show the options'
complete -c loopfs -n '__fish_seen_subcommand_from run' -l root -x -a '(__fish_complete_directories)' -d 'Root file system'
complete -c loopfs -n '__fish_seen_subcommand_from run' -l bind -r -F -d 'Show SRC of the host at DST (SRC[:DST])'
complete -c loopfs -n '__fish_seen_subcommand_from run' -l max -x -d 'At most this many loop devices'
complete -c loopfs -n '__fish_seen_subcommand_from run' -l engine -x -a user -d 'What serves the devices'
complete -c loopfs -n '__fish_seen_subcommand_from run' -s q -l quiet -d 'Say nothing but errors'
complete -c loopfs -n '__fish_seen_subcommand_from run doctor' -l config -r -F -d 'Read this file in place of loopfs.toml'
complete -c loopfs -n '__fish_seen_subcommand_from run' -x -a '(__fish_complete_subcommand --fcs-skip=2)'
