#!/usr/bin/env bash
# A real Elasticsearch node on 127.0.0.1, put together from Maven Central alone; runs as root too. Not in this build: `GET /`, scripts,
# custom analyzers, _delete_by_query, _update_by_query, _reindex, security (their modules are not published there).
#   elasticsearch.sh install
#   elasticsearch.sh start PORT FOLDER    its data in FOLDER; prints its URL
#   elasticsearch.sh stop
# Environment: SERVICES_HOME (what is installed), SERVICE_RUN (what is noted of the running node), ES_JAVA_HOME (a JDK of 21 or newer),
# ES_JAVA_OPTS, ES_SETTINGS ("key=value key=value"), ES_START_TIMEOUT (seconds, default 110).
set -euo pipefail

ES_VERSION=9.5.3
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SERVICES_HOME=${SERVICES_HOME:-$HOME/.cache/fhir-services}
BASE=$SERVICES_HOME/elasticsearch
RUN=${SERVICE_RUN:-$BASE/run}
MAIN=localsearch.LocalElasticsearch
PID_FILE=$RUN/pid
LOG=$RUN/elasticsearch.log
PORT=0

die() { echo "elasticsearch.sh: $*" >&2; exit 1; }

java_home() { # the first JDK of version 21 or newer that has a compiler
  local home version
  for home in "${ES_JAVA_HOME:-}" "${JAVA_HOME:-}" /usr/lib/jvm/* /opt/jdk* /usr/local/jdk*; do
    [[ -n $home && -x $home/bin/java && -x $home/bin/javac ]] || continue
    version=$("$home/bin/java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = //p')
    if [[ $version =~ ^[0-9]+$ ]] && ((version >= 21)); then echo "$home"; return; fi
  done
  die "no JDK of version 21 or newer found (set ES_JAVA_HOME)"
}

# The install is named after what it is made of, so that a changed source or version makes a new one.
stamp() { cat "$HERE/pom.xml" "${BASH_SOURCE[0]}" $(find "$HERE/src" -name '*.java' | sort) | sha256sum | cut -c1-12; }
HOME_DIR=$BASE/$ES_VERSION-$(stamp)

install() {
  [[ -f $HOME_DIR/.complete ]] && { echo "installed: $HOME_DIR"; return; }
  command -v mvn >/dev/null || die "mvn not found (Debian: apt-get install maven)"
  local java
  java=$(java_home)
  mkdir -p "$BASE"
  exec 9>"$BASE/install.lock"
  flock -w 900 9 || die "another install holds $BASE/install.lock"
  [[ -f $HOME_DIR/.complete ]] && { echo "installed: $HOME_DIR"; return; }
  work=$(mktemp -d "$BASE/install.XXXXXX")
  trap 'rm -rf "${work:-}"' EXIT
  cp "$HERE/pom.xml" "$work/"
  local try
  for try in 1 2 3; do
    if (cd "$work" && mvn -q -B -Des.version="$ES_VERSION" -Dhome="$work/home" package) >"$BASE/install.log" 2>&1; then break; fi
    ((try < 3)) || { tail -20 "$BASE/install.log" >&2; die "maven failed, see $BASE/install.log"; }
    sleep $((try * 5))
  done
  local home=$work/home
  mkdir -p "$home"/{config,plugins,lib/platform/linux-x64,lib/platform/linux-aarch64}
  compile "$java" "$home" "$HERE/src" "$home/lib/local-main.jar"
  descriptor transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin >"$home/modules/transport-netty4/plugin-descriptor.properties"
  # zstd serves codec best_compression; it is not on Maven Central, Debian's libzstd1 fits.
  ln -sf /usr/lib/x86_64-linux-gnu/libzstd.so.1 "$home/lib/platform/linux-x64/libzstd.so"
  ln -sf /usr/lib/aarch64-linux-gnu/libzstd.so.1 "$home/lib/platform/linux-aarch64/libzstd.so"
  cat >"$home/config/log4j2.properties" <<'LOG'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
LOG
  rm -rf "$HOME_DIR"
  mv "$home" "$HOME_DIR"
  share_classes "$java" "$work/warm"
  touch "$HOME_DIR/.complete"
  echo "installed: $HOME_DIR ($(du -sh "$HOME_DIR" | cut -f1))"
}

compile() { # java-home, es-home, source folder, jar
  rm -rf "$2/classes" && mkdir "$2/classes"
  "$1/bin/javac" --release 21 -nowarn -Xlint:-options -cp "$2/lib/*" -d "$2/classes" $(find "$3" -name '*.java') || die "javac failed for $3"
  "$1/bin/jar" --create --file "$4" -C "$2/classes" .
  rm -rf "$2/classes"
}

descriptor() { # name, class
  printf '%s\n' "name=$1" "description=$1" "version=$ES_VERSION" "elasticsearch.version=$ES_VERSION" java.version=21 "classname=$2"
}

node() { # java-home, run folder, jvm options..., -- , settings...: becomes the server process
  local java=$1 run=$2; shift 2
  local -a jvm=()
  while [[ $1 != -- ]]; do jvm+=("$1"); shift; done
  shift
  local -a user_jvm=() user_settings=()
  read -ra user_jvm <<<"${ES_JAVA_OPTS:-}"
  read -ra user_settings <<<"${ES_SETTINGS:-}"
  # What the user asks for comes last, so that it wins.
  exec "$java/bin/java" -Xms512m -Xmx512m -Xss1m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError \
    -Xlog:disable -Xlog:all=error:stderr "${jvm[@]}" \
    -Djava.io.tmpdir="$run/tmp" -Djava.awt.headless=true -Dfile.encoding=UTF-8 -Djava.locale.providers=CLDR \
    -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dio.netty.recycler.maxCapacityPerThread=0 \
    -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true -Des.path.home="$HOME_DIR" \
    -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false \
    --add-modules=jdk.incubator.vector --enable-native-access=ALL-UNNAMED \
    ${user_jvm[@]+"${user_jvm[@]}"} -cp "$HOME_DIR/lib/*" "$MAIN" "$HOME_DIR" "$HOME_DIR/config" "$run/ready" \
    cluster.name=local discovery.type=single-node network.host=127.0.0.1 transport.port=0 \
    cluster.routing.allocation.disk.threshold_enabled=false path.logs="$run" "$@" \
    ${user_settings[@]+"${user_settings[@]}"} </dev/null 8>&- 9>&-
}

share_classes() { # makes a class data archive: halves the start time; nothing depends on it
  local java=$1 run=$2 pid i
  mkdir -p "$run/tmp"
  (ES_SETTINGS='' ES_JAVA_OPTS='' node "$java" "$run" -XX:ArchiveClassesAtExit="$run/classes.jsa" -- http.port=0 path.data="$run/data") \
    >"$run/log" 2>&1 &
  pid=$!
  for ((i = 0; i < 300; i++)); do
    [[ ! -f $run/ready ]] || break
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  if [[ -s $run/classes.jsa ]]; then mv "$run/classes.jsa" "$HOME_DIR/classes.jsa"; fi
}

running() { # prints the process number of the node that was started in $SERVICE_RUN
  local pid
  [[ -f $PID_FILE ]] && pid=$(<"$PID_FILE") && [[ -n $pid && -r /proc/$pid/cmdline ]] || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qx "$MAIN" || return 1
  echo "$pid"
}

healthy() {
  local answer
  answer=$(http_get "/_cluster/health?wait_for_status=yellow&timeout=1s") || return 1
  [[ $answer == *'"status":"green"'* || $answer == *'"status":"yellow"'* ]]
}

http_get() { # no curl needed
  exec 3<>"/dev/tcp/127.0.0.1/$PORT" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: application/json\r\n\r\n' "$1" >&3
  timeout 10 cat <&3 || true
  exec 3>&-
}

start() { # port, data folder
  local data=$2 pid java deadline
  PORT=$1
  [[ $PORT =~ ^[0-9]+$ ]] && ((PORT > 0 && PORT < 65536)) || die "not a port: $PORT"
  if running >/dev/null; then echo "http://127.0.0.1:$PORT"; return; fi
  if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then die "port $PORT is taken by another process"; fi
  [[ -f $HOME_DIR/.complete ]] || install >&2
  java=$(java_home)
  mkdir -p "$RUN/tmp" "$data"
  data=$(realpath "$data")
  rm -f "$RUN/ready"
  export -f node
  export HOME_DIR MAIN
  setsid bash -c 'node "$@"' node "$java" "$RUN" -Xshare:auto -XX:SharedArchiveFile="$HOME_DIR/classes.jsa" \
    -- "http.port=$PORT" "path.data=$data" >"$LOG" 2>&1 &
  pid=$!
  echo "$pid" >"$PID_FILE"
  deadline=$((SECONDS + ${ES_START_TIMEOUT:-110}))
  until [[ -f $RUN/ready ]] && healthy 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$PID_FILE"; tail -3 "$LOG" >&2; die "the node ended while starting, see $LOG"
    fi
    if ((SECONDS >= deadline)); then
      stop; tail -30 "$LOG" >&2; die "not healthy in time, see $LOG"
    fi
    sleep 0.2
  done
  echo "http://127.0.0.1:$PORT"
}

stop() {
  local pid i
  if ! pid=$(running); then rm -f "$PID_FILE"; return; fi
  kill -TERM "$pid"
  for ((i = 0; i < 150; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
  rm -f "$PID_FILE" "$RUN/ready"
}

case ${1:-} in
  install) install ;;
  start) start "${2:?port}" "${3:?data folder}" ;;
  stop) stop ;;
  *) sed -n '2,9p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
