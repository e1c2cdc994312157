# Sourced by .ci/run and .ci/full: named steps, one after the other or side by side,
# with the time that each took.
# shellcheck shell=bash

STEP_LOGS="$(mktemp -d)"
STEP_TIMES=()
declare -A STEP_PIDS=()

# Runs a command in the foreground: step NAME COMMAND...
step() {
    local name="$1" begin=$SECONDS
    shift
    echo "=== $name ($(date +%H:%M:%S))"
    "$@"
    STEP_TIMES+=("$(printf '%5d s  %s' $((SECONDS - begin)) "$name")")
}

# Starts a command beside what follows; its output comes with `join`: beside NAME COMMAND...
beside() {
    local name="$1"
    shift
    echo "=== $name, beside the following ($(date +%H:%M:%S))"
    # setsid: what it starts can be ended with it.
    NAME="$name" LOGS="$STEP_LOGS" setsid bash -c '
        begin=$SECONDS
        "$@" >"$LOGS/$NAME" 2>&1
        status=$?
        echo $((SECONDS - begin)) >"$LOGS/$NAME.seconds"
        exit $status' beside "$@" &
    STEP_PIDS["$name"]=$!
}

# Waits for what was started beside, prints its output, and fails if it failed.
join() {
    local name="$1" status=0
    wait "${STEP_PIDS[$name]}" || status=$?
    unset "STEP_PIDS[$name]"
    echo "=== $name: what it printed"
    cat "$STEP_LOGS/$name"
    if [ "$status" -ne 0 ]; then
        echo "failed: $name" >&2
        return "$status"
    fi
    STEP_TIMES+=("$(printf '%5d s  %s (beside others)' "$(cat "$STEP_LOGS/$name.seconds")" "$name")")
}

# What runs beside ends with the script, however it ends.
end_all() {
    local pid
    for pid in "${STEP_PIDS[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true
    done
    rm -rf "$STEP_LOGS"
}
trap end_all EXIT

# The times, and a failure if all took longer than so many minutes: times MINUTES
times_within() {
    local limit=$(($1 * 60))
    echo "=== times"
    printf '%s\n' "${STEP_TIMES[@]}"
    printf '%5d s  in all, of %d\n' "$SECONDS" "$limit"
    if [ "$SECONDS" -gt "$limit" ]; then
        echo "this took longer than $1 minutes" >&2
        return 1
    fi
}
