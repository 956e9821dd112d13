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
# shellcheck source=../serving.sh
. "$(dirname "${BASH_SOURCE[0]}")/../serving.sh" redis redis-server

install() {
  if command -v redis-server >/dev/null; then return; fi
  installable redis-server
  from_debian redis-server
}

# Whether anything but an error of the connection comes back to PING (with a password set it is an error of Redis).
answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'PING\r\n' >&3 && read -r -t 2 line <&3 && [[ $line == +PONG* || $line == -NOAUTH* ]]) 2>/dev/null
}

start() {
  local port=$1 data=$2
  command -v redis-server >/dev/null || fail "redis-server is not installed"
  # shellcheck disable=SC2086
  setsid nohup redis-server --bind 127.0.0.1 --port "$port" --dir "$data" --save "" --appendonly no ${REDIS_OPTIONS:-} \
    >"$run/log" 2>&1 </dev/null &
  started $! "$port"
  echo "redis://127.0.0.1:$port/0"
}

main "$@"
