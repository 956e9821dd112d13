#!/usr/bin/env bash
# A Redis server from the Debian package's program.
#
#   redis.sh install              apt-get install redis-server, as root on Debian or Ubuntu (does nothing where it is there)
#   redis.sh start PORT FOLDER    start on 127.0.0.1 with its data in FOLDER, wait until it answers, print its URL
#   redis.sh stop                 stop what `start` started
#
# SERVICE_RUN     notes of a running one  (default: ~/.cache/fhir-services/redis/run)
# REDIS_OPTIONS   more options for it     (--requirepass …)
set -euo pipefail

run=${SERVICE_RUN:-${SERVICES_HOME:-$HOME/.cache/fhir-services}/redis/run}

fail() { echo "redis.sh: $1" >&2; exit 1; }

install() {
  if command -v redis-server >/dev/null; then return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then fail "redis-server is not installed (apt-get install redis-server)"; fi
  apt-get update -qq >&2
  # RUNLEVEL: no server of the machine's own is started
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 redis-server >&2 ||
    fail "apt-get could not install redis-server"
}

# The process that `start` noted, if it still is that program.
running() {
  local process
  process=$(cat "$run/pid" 2>/dev/null) || return 1
  ps -o args= -p "$process" 2>/dev/null | grep -q 'redis-server' && echo "$process"
}

# Whether anything but an error of the connection comes back to PING (with a password set it is an error of Redis).
answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'PING\r\n' >&3 && read -r -t 2 line <&3 && [[ $line == +PONG* || $line == -NOAUTH* ]]) 2>/dev/null
}

start() {
  local port=${1:?the port} data=${2:?the data folder} process
  if running >/dev/null; then fail "it runs already"; fi
  command -v redis-server >/dev/null || fail "redis-server is not installed"
  mkdir -p "$run" "$data"
  # shellcheck disable=SC2086
  setsid nohup redis-server --bind 127.0.0.1 --port "$port" --dir "$data" --save "" --appendonly no ${REDIS_OPTIONS:-} \
    >"$run/log" 2>&1 </dev/null &
  process=$!
  echo "$process" >"$run/pid"
  for _ in $(seq 300); do
    kill -0 "$process" 2>/dev/null || { tail -n 3 "$run/log" >&2; fail "the server ended at once"; }
    if answers "$port"; then echo "redis://127.0.0.1:$port/0"; return; fi
    sleep 0.1
  done
  kill -KILL "$process"
  fail "no answer within 30 s: see $run/log"
}

stop() {
  local process
  if process=$(running); then
    kill -TERM "$process"
    for _ in $(seq 100); do running >/dev/null || break; sleep 0.1; done
    if process=$(running); then kill -KILL "$process"; fi
  fi
  rm -f "$run/pid"
}

case ${1:-} in
  install) install ;;
  start) shift; start "$@" ;;
  stop) stop ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
