# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Running pytest in a step.  Source common.sh first.

retry_most=10 # more failures than that are no accident

# retry STATUS LOG COMMAND...: STATUS if it is 0.  Else runs once more, with nothing beside it, what failed
# by the LOG of a run of pytest: COMMAND with the names of these tests.  They are named in the output.
retry() {
    local status=$1 log=$2 tests
    shift 2
    ((status != 0)) || return 0
    mapfile -t tests < <(sed -nE 's/ - .*//; s/^(FAILED|ERROR) //p' "$log" | sort -u)
    ((${#tests[@]} > 0 && ${#tests[@]} <= retry_most)) || return "$status"
    say 'what failed is run again, with nothing beside it'
    printf 'failed before: %s\n' "${tests[@]}"
    "$@" "${tests[@]}"
}
