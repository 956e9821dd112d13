#!/usr/bin/env bash
# An S3 server: VersityGW (Apache-2.0), which keeps objects as files of a folder; from the Go module proxy.
#
#   versitygw.sh install              build it, in about two minutes (does nothing where it is there); Go 1.25 or newer
#   versitygw.sh start PORT FOLDER    start on 127.0.0.1 with its data in FOLDER, wait until it answers, print its URL
#   versitygw.sh stop                 stop what `start` started
#
# It has an empty bucket `files`, and two users: `fhir` with the secret `fhir-secret-key`, who may do everything, and `stranger` with the secret
# `stranger-secret-key`, who may do nothing.
#
# SERVICES_HOME       what is installed       (default: ~/.cache/fhir-services)
# SERVICE_RUN         notes of a running one  (default: $SERVICES_HOME/versitygw/run)
# VERSITYGW_OPTIONS   more options for it     (--cert … --key …: https)
set -euo pipefail
# shellcheck source=../serving.sh
. "$(dirname "${BASH_SOURCE[0]}")/../serving.sh" versitygw versitygw

version=v1.8.0
home=${SERVICES_HOME:-$HOME/.cache/fhir-services}/versitygw
gateway=$home/$version/versitygw

install() {
  if [ -x "$gateway" ]; then return; fi
  local go
  go=$(command -v go || command -v /usr/local/go/bin/go || command -v /usr/lib/go/bin/go) || {
    installable golang-go
    from_debian golang-go
    go=go
  }
  mkdir -p "$home"
  GOBIN=$home/$version "$go" install "github.com/versity/versitygw/cmd/versitygw@$version" >"$home/install.log" 2>&1 ||
    fail "go could not build it: see $home/install.log ($(tail -n 1 "$home/install.log"))"
}

answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

start() {
  local port=$1 data=$2 scheme=http
  if [[ ${VERSITYGW_OPTIONS:-} == *--cert* ]]; then scheme=https; fi
  mkdir -p "$data/files" "$run/users"
  echo '{"accessAccounts": {"stranger": {"access": "stranger", "secret": "stranger-secret-key", "role": "user"}}}' >"$run/users/users.json"
  # shellcheck disable=SC2086
  ROOT_ACCESS_KEY=fhir ROOT_SECRET_KEY=fhir-secret-key setsid nohup "$gateway" --quiet --port "127.0.0.1:$port" --iam-dir "$run/users" \
    ${VERSITYGW_OPTIONS:-} posix "$data" >"$run/log" 2>&1 </dev/null &
  started $! "$port"
  echo "$scheme://127.0.0.1:$port"
}

main "$@"
