#!/usr/bin/env bash
# Private PostgreSQL and MariaDB servers on free ports of 127.0.0.1, each in a folder NAME of the
# temporary $folder. Sourced by scripts/test-databases and scripts/cluster, which define:
#
#   program            the name in messages
#   start              starts the servers and exports the $variables (their names) for the command
#   state              the file that has the folder between `start` and `stop`
#
# Root runs the servers as the users `postgres` and `mysql`, because they refuse to run as root.
# shellcheck disable=SC2154

folder=

fail() {
  echo "$program: $*" >&2
  exit 1
}

# as USER COMMAND...: runs COMMAND as USER if we are root, else as the current user.
as() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    # From a folder that the user can enter: the current one may be closed to it.
    (cd "$folder" && exec runuser -u "$user" -- "$@")
  else
    (cd "$folder" && exec "$@")
  fi
}

# The newest version of a program: Debian keeps PostgreSQL's programs outside PATH.
find_program() {
  local name found
  for name in "$@"; do
    if found=$(command -v "$name"); then
      echo "$found"
      return
    fi
    found=$(find /usr/lib/postgresql/*/bin /usr/sbin /usr/libexec -maxdepth 1 -name "$name" 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$found" ]; then
      echo "$found"
      return
    fi
  done
  fail "no $1 here; on Debian: apt-get install postgresql mariadb-server"
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
}

# new_server NAME USER: the folder of a server, which USER owns.
new_server() {
  mkdir "$folder/$1"
  if [ "$(id -u)" = 0 ]; then
    chown "$2" "$folder/$1"
  fi
}

# install_postgres NAME: an empty cluster of databases.
install_postgres() {
  local initdb
  initdb=$(find_program initdb)
  new_server "$1" postgres
  as postgres "$initdb" --pgdata="$folder/$1/data" --username=callscope --auth=trust \
    --encoding=UTF8 --locale=C --no-sync >"$folder/$1/initdb.log" 2>&1 ||
    { tail -n 20 "$folder/$1/initdb.log" >&2; fail "initdb failed"; }
}

# run_postgres NAME OPTION...: starts it on the port of an earlier run, or else on a free one, and
# writes NAME/port. Options contain no space.
run_postgres() {
  local name=$1 ctl port attempt
  shift
  ctl=$(find_program pg_ctl)
  # Another program may take the port before the server starts.
  for attempt in 1 2 3; do
    port=$(cat "$folder/$name/port" 2>/dev/null || free_port)
    if as postgres "$ctl" start --wait --timeout=60 --silent --pgdata="$folder/$name/data" \
      --log="$folder/$name/server.log" --options="-p $port -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c max_connections=900 -c shared_buffers=128MB \
        -c max_wal_size=2GB -c log_checkpoints=off -c timezone=UTC $*" >&2; then
      echo "$port" >"$folder/$name/port"
      return
    fi
  done
  tail -n 20 "$folder/$name/server.log" >&2
  fail "PostgreSQL did not start, $attempt attempts"
}

# install_mariadb NAME: empty databases, and NAME/init.sql, which creates the user.
install_mariadb() {
  local install
  install=$(find_program mariadb-install-db mysql_install_db)
  new_server "$1" mysql
  cat >"$folder/$1/init.sql" <<'SQL'
CREATE USER IF NOT EXISTS 'callscope'@'127.0.0.1';
GRANT ALL ON *.* TO 'callscope'@'127.0.0.1' WITH GRANT OPTION;
SQL
  as mysql "$install" --no-defaults --datadir="$folder/$1/data" --skip-test-db \
    --auth-root-authentication-method=normal --skip-name-resolve \
    --innodb-log-file-size=64M --innodb-flush-method=nosync >"$folder/$1/install.log" 2>&1 ||
    { tail -n 20 "$folder/$1/install.log" >&2; fail "mariadb-install-db failed"; }
}

# run_mariadb NAME OPTION...: starts it on the port of an earlier run, or else on a free one, waits
# until it answers, and writes NAME/port.
run_mariadb() {
  local name=$1 server admin port attempt pid waited
  shift
  server=$(find_program mariadbd mysqld)
  admin=$(find_program mariadb-admin mysqladmin)
  for attempt in 1 2 3; do
    port=$(cat "$folder/$name/port" 2>/dev/null || free_port)
    as mysql "$server" --no-defaults --datadir="$folder/$name/data" \
      --socket="$folder/$name/socket" --pid-file="$folder/$name/pid" \
      --bind-address=127.0.0.1 --port="$port" \
      --skip-name-resolve --max-connections=900 --connect-timeout=60 --character-set-server=utf8mb4 \
      --innodb-log-file-size=64M --innodb-fast-shutdown=2 --innodb-stats-persistent=0 \
      --log-warnings=1 --default-time-zone=+00:00 "$@" >>"$folder/$name/server.log" 2>&1 &
    pid=$!
    for ((waited = 0; waited < 600; waited++)); do
      if ! kill -0 "$pid" 2>/dev/null; then
        break
      fi
      # By its own socket: another server may answer on the port while this one fails to start.
      if "$admin" --no-defaults --protocol=socket --socket="$folder/$name/socket" \
        ping >/dev/null 2>&1; then
        echo "$port" >"$folder/$name/port"
        return
      fi
      sleep 0.1
    done
    kill "$pid" 2>/dev/null || true
  done
  tail -n 20 "$folder/$name/server.log" >&2
  fail "MariaDB did not start, $attempt attempts"
}

# server_pid NAME: the process of a server, if it wrote one.
server_pid() {
  local file
  for file in "$folder/$1/data/postmaster.pid" "$folder/$1/pid"; do
    if [ -f "$file" ]; then
      head -n 1 "$file"
    fi
  done
}

# Stops the servers of $folder by their process ids and removes it.
stop() {
  local pids=() name pid waited
  for name in "$folder"/*/; do
    pid=$(server_pid "$(basename "$name")")
    if [ -n "$pid" ]; then
      pids+=("$pid")
    fi
  done
  for pid in "${pids[@]}"; do
    # INT is PostgreSQL's fast shutdown; MariaDB ignores it. CONT for one that a test has frozen.
    kill -CONT "$pid" 2>/dev/null || true
    kill -INT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
  done
  for pid in "${pids[@]}"; do
    for ((waited = 0; waited < 100; waited++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}

show_logs() {
  local log
  for log in "$folder"/*/server.log; do
    if [ -f "$log" ]; then
      echo "--- the end of $log" >&2
      tail -n 12 "$log" >&2
    fi
  done
}

new_folder() {
  folder=$(mktemp -d "${TMPDIR:-/tmp}/callscope-$1.XXXXXX")
  chmod 755 "$folder"
}

# The comments at the top of a script.
usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$1" >&2
  exit 2
}

# start_command: starts the servers and prints the variables, for `eval`.
start_command() {
  local variable
  [ ! -f "$state" ] || fail "already started; stop first"
  trap 'show_logs; stop' ERR
  trap '[ -z "$folder" ] || [ -f "$state" ] || stop' EXIT
  start
  mkdir -p "$(dirname "$state")"
  echo "$folder" >"$state"
  for variable in "${variables[@]}"; do
    echo "export $variable='${!variable}'"
  done
}

stop_command() {
  [ -f "$state" ] || fail "nothing was started"
  folder=$(cat "$state")
  stop
  rm "$state"
}

# run_command [--] COMMAND...: runs COMMAND with the variables between start and stop.
run_command() {
  local status=0
  [ "${1:-}" != -- ] || shift
  [ $# -gt 0 ] || fail "run what? $program run -- COMMAND"
  trap '[ -z "$folder" ] || stop' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  start
  "$@" || status=$?
  [ "$status" = 0 ] || show_logs
  exit "$status"
}
