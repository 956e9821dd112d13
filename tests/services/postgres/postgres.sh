#!/usr/bin/env bash
# A PostgreSQL server from the Debian package's programs.
#
#   postgres.sh install              apt-get install postgresql, as root on Debian or Ubuntu (does nothing where it is there)
#   postgres.sh start PORT FOLDER    start on 127.0.0.1 with its data in FOLDER, wait until it answers, print its URL
#   postgres.sh stop                 stop what `start` started
#
# PostgreSQL refuses to run as root: then it runs as the user `postgres` (or `nobody`), to whom FOLDER is given.
#
# SERVICE_RUN        notes of a running one  (default: ~/.cache/fhir-services/postgres/run)
# POSTGRES_OPTIONS   more options for it     (default: -c fsync=off, since no test cuts the power; set it empty to measure)
set -euo pipefail

run=${SERVICE_RUN:-${SERVICES_HOME:-$HOME/.cache/fhir-services}/postgres/run}

fail() { echo "postgres.sh: $1" >&2; exit 1; }

# The folder with initdb and postgres: Debian keeps them off the path.
programs() {
  local folder
  for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) $(pg_config --bindir 2>/dev/null) "$(dirname "$(command -v postgres || echo /none/postgres)")"; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then echo "$folder"; return; fi
  done
  return 1
}

install() {
  if programs >/dev/null; then return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then fail "PostgreSQL's server programs are not installed (apt-get install postgresql)"; fi
  # no cluster of the machine's own is made or started
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/none.conf
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 postgresql >&2 || fail "apt-get could not install postgresql"
}

# A command as a user who may run PostgreSQL. FOLDER is often below a home that others may not enter, hence the capability.
unprivileged() {
  if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
  local user=nobody
  if id postgres >/dev/null 2>&1; then user=postgres; fi
  (cd / && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --inh-caps=+dac_override \
    --ambient-caps=+dac_override "$@")
}

# The process that `start` noted, if it still is that program.
running() {
  local process
  process=$(cat "$run/pid" 2>/dev/null) || return 1
  ps -o args= -p "$process" 2>/dev/null | grep -q 'postgres' && echo "$process"
}

start() {
  local port=${1:?the port} data=${2:?the data folder} bin
  if running >/dev/null; then fail "it runs already"; fi
  bin=$(programs) || fail "PostgreSQL's server programs are not installed"
  mkdir -p "$run" "$data"
  if [ ! -e "$data/PG_VERSION" ]; then
    chown "$(unprivileged id -u)" "$data"
    unprivileged "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C -N >"$run/initdb.log" 2>&1 || { tail -n 3 "$run/initdb.log" >&2; fail "initdb failed"; }
  fi
  launch "$bin" "$port" "$data"
  for _ in $(seq 300); do
    if "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" -U postgres -d postgres; then
      head -n 1 "$data/postmaster.pid" >"$run/pid"
      echo "postgresql://postgres@127.0.0.1:$port/postgres"
      return
    fi
    # after a kill the processes of the old server may hold its memory for a moment
    kill -0 "$launched" 2>/dev/null || launch "$bin" "$port" "$data"
    sleep 0.1
  done
  tail -n 3 "$run/log" >&2
  fail "no answer within 30 s: see $run/log"
}

launch() {
  # shellcheck disable=SC2086
  unprivileged setsid nohup "$1/postgres" -D "$3" -c listen_addresses=127.0.0.1 -p "$2" -k "" -c max_connections=200 \
    ${POSTGRES_OPTIONS--c fsync=off} >>"$run/log" 2>&1 </dev/null &
  launched=$!
}

stop() {
  local process
  if process=$(running); then
    kill -INT "$process"
    for _ in $(seq 100); do running >/dev/null || break; sleep 0.1; done
    if process=$(running); then kill -QUIT "$process"; fi
  fi
  rm -f "$run/pid"
}

case ${1:-} in
  install) install ;;
  start) shift; start "$@" ;;
  stop) stop ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
