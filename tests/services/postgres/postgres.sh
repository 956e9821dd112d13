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
# shellcheck source=../serving.sh
. "$(dirname "${BASH_SOURCE[0]}")/../serving.sh" postgres postgres
stopping=INT killing=QUIT # its processes end with their parent

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
  installable postgresql
  # no cluster of the machine's own is made or started
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/none.conf
  from_debian postgresql
}

# A command as a user who may run PostgreSQL. FOLDER is often below a home that others may not enter, hence the capability.
unprivileged() {
  if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
  local user=nobody
  if id postgres >/dev/null 2>&1; then user=postgres; fi
  (cd / && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --inh-caps=+dac_override \
    --ambient-caps=+dac_override "$@")
}

start() {
  local port=$1 data=$2 bin
  bin=$(programs) || fail "PostgreSQL's server programs are not installed"
  if [ ! -e "$data/PG_VERSION" ]; then
    chown "$(unprivileged id -u)" "$data"
    unprivileged "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C -N >"$run/initdb.log" 2>&1 || { tail -n 3 "$run/initdb.log" >&2; fail "initdb failed"; }
  fi
  launch "$bin" "$port" "$data"
  for _ in $(seq 900); do
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
  fail "no answer within 90 s: see $run/log"
}

launch() {
  # shellcheck disable=SC2086
  unprivileged setsid nohup "$1/postgres" -D "$3" -c listen_addresses=127.0.0.1 -p "$2" -k "" -c max_connections=200 \
    ${POSTGRES_OPTIONS--c fsync=off} >>"$run/log" 2>&1 </dev/null &
  launched=$!
}

main "$@"
