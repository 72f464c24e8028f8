# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# steps.sh: runs steps one after the other, and counts.
#
# A step is an executable file that has a line `# Time limit: N s`, says on its last line of output
# what it found, and exits with 0 if that is good.  What it prints is shown, and kept in build/log/.
# It is contained (tests/lib/contained): what it mounts, starts and writes to TMPDIR ends with it.

steps_passed=0
steps_failed=0
steps_report=()
step_pid=
step_directory=

# A step that is running must not outlive the run.
steps_interrupted() {
    if [[ -n $step_pid ]]; then
        kill -TERM "$step_pid" 2>/dev/null || true
        wait "$step_pid" || true
        rm -rf --one-file-system "$step_directory"
    fi
    exit 130
}
trap steps_interrupted INT TERM HUP

# step_await LOG: shows the log until the step has ended.  Its exit status.
step_await() {
    local log=$1 shower status=0
    # Not through a pipe: a process that is left behind would keep that open.
    tail --pid="$step_pid" -s 0.2 -n +1 -f "$log" &
    shower=$!
    wait "$step_pid" || status=$?
    step_pid=
    wait "$shower" || true
    return "$status"
}

# step FILE [ARGUMENT...]
step() {
    local file=$1 name limit log began=$SECONDS status=0 verdict
    name=${file#tests/}
    limit=$(sed -n 's/^# Time limit: \([0-9]*\) s$/\1/p' "$file")
    log=build/log/${name//\//-}
    mkdir -p build/log
    printf '\n==== %s (at most %s s)\n' "$name" "${limit:?$file has no time limit}"
    : >"$log"
    step_directory=$(mktemp -d /tmp/it.XXXXXX)
    # timeout(1) sends its signals to the step's whole process group.
    STEP_DIRECTORY=$step_directory timeout --kill-after="${STEP_GRACE:-30}" "$limit" tests/lib/contained "$@" \
        >"$log" 2>&1 &
    step_pid=$!
    step_await "$log" || status=$?
    rm -rf --one-file-system "$step_directory"
    case $status in
    0) verdict=passed ;;
    124 | 137) verdict="FAILED: not done within $limit s" ;;
    *) verdict="FAILED with status $status" ;;
    esac
    if ((status == 0)); then
        steps_passed=$((steps_passed + 1))
    else
        steps_failed=$((steps_failed + 1))
    fi
    steps_report+=("$(printf '%-22s %5d s  %s' "$name" $((SECONDS - began)) "$verdict")")
    steps_report+=("$(printf '%-22s          %s' '' "$(tail -n 1 "$log")")")
    return "$status"
}

# The table of all steps, and the line that counts them.  Fails if a step did.
steps_summary() {
    printf '\n==== summary\n'
    printf '%s\n' "${steps_report[@]}"
    printf '\n%d passed, %d failed\n' "$steps_passed" "$steps_failed"
    ((steps_failed == 0))
}
