# shellcheck shell=bash
# What redis.sh, postgres.sh and mongo.sh have alike. Each sources this file with its name and with what its server's process is called,
# defines `install` and `start PORT FOLDER`, and ends with `main "$@"`.

name=$1 program=$2 # `program` is a pattern of grep
run=${SERVICE_RUN:-${SERVICES_HOME:-$HOME/.cache/fhir-services}/$name/run}
stopping=TERM killing=KILL

fail() { echo "$name.sh: $1" >&2; exit 1; }

# Whether a package can be installed here at all: as root, on Debian or Ubuntu.
installable() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then fail "$1 is not installed (apt-get install $1)"; fi
}

from_debian() {
  apt-get update -qq >&2
  # RUNLEVEL: no server of the machine's own is started
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "$1" >&2 ||
    fail "apt-get could not install $1"
}

# The process that `start` noted, if it still is that program.
running() {
  local process
  process=$(cat "$run/pid" 2>/dev/null) || return 1
  { cat "/proc/$process/cmdline" || ps -o args= -p "$process"; } 2>/dev/null | grep -qa -e "$program" && echo "$process"
}

# Note the process, and wait until it answers on the port (`answers PORT`).
started() {
  local process=$1 port=$2
  echo "$process" >"$run/pid"
  for _ in $(seq 900); do
    kill -0 "$process" 2>/dev/null || { tail -n 5 "$run/log" >&2; fail "the server ended at once"; }
    if answers "$port"; then return; fi
    sleep 0.1
  done
  kill -KILL "$process"
  fail "no answer within 90 s: see $run/log"
}

stop() {
  local process
  if process=$(running); then
    kill -"$stopping" "$process"
    for _ in $(seq 100); do running >/dev/null || break; sleep 0.1; done
    if process=$(running); then kill -"$killing" "$process"; fi
  fi
  rm -f "$run/pid"
}

main() {
  case ${1:-} in
    install) install ;;
    start)
      if running >/dev/null; then fail "it runs already"; fi
      mkdir -p "$run" "${3:?the data folder}"
      start "$2" "$3"
      ;;
    stop) stop ;;
    *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; # what the script says of itself
  esac
}
