// The program of the guardian: a script for any POSIX shell, because it runs beside every runner, and a Node.js process
// would take ten times its memory (D-124).

/**
 * The time between two looks at the clock, in milliseconds. What would be overdue at the next look is killed at this one,
 * so that no program outlives its lease.
 */
export const guardianTickMs = 500;

/**
 * Reads lines: "w PID CENTISECONDS VARIABLE" watches a process group, which is killed when no other line about it has
 * come for this time ("-" is no limit), and "e PID" ends that. When the input ends, all groups are killed. One process
 * passes the lines on, and one adds an empty line for each look at the clock, because not every shell can read with a
 * time limit. The clock is Linux's uptime, and elsewhere the number of the looks.
 */
export const guardianScript = `
trap '' HUP INT TERM
{
  while sleep ${guardianTickMs / 1_000}; do echo || exit; done &
  while IFS= read -r line; do printf '%s\\n' "$line"; done
  echo eof
  kill -s KILL $!
} | {
  groups= looks=0
  clock() {
    now=$((looks * ${guardianTickMs / 10}))
    if read -r uptime rest </proc/uptime; then now=$((\${uptime%.*} * 100 + 1\${uptime#*.} - 100)); fi
  } 2>/dev/null
  slay() {
    kill -s KILL -- "-$1"
    [ -n "$2" ] || return
    for round in 1 2 3; do
      for file in $(grep -laF -- "$2" /proc/[0-9]*/environ); do
        process=\${file#/proc/}
        tr '\\0' '\\n' <"$file" | grep -qxF -- "$2" && kill -s KILL "\${process%/environ}"
      done
    done
  }
  forget() {
    kept=
    for group in $groups; do
      case $group in "$1":*) ;; *) kept="$kept $group" ;; esac
    done
    groups=$kept
  }
  while read -r what pid time variable; do
    case $what in
      w) forget "$pid"; clock; [ "$time" = - ] || time=$((now + time)); groups="$groups $pid:$time:$variable" ;;
      e) forget "$pid" ;;
      eof) for group in $groups; do rest=\${group#*:}; slay "\${group%%:*}" "\${rest#*:}"; done; exit ;;
      *)
        looks=$((looks + 1)); clock
        for group in $groups; do
          pid=\${group%%:*} rest=\${group#*:}
          time=\${rest%%:*}
          [ "$time" = - ] && continue
          [ $((now + ${guardianTickMs / 10})) -ge "$time" ] || continue
          forget "$pid"; slay "$pid" "\${rest#*:}"
        done ;;
    esac
  done
}
`;
