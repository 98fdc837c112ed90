#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's compilers and emulators: installs what is missing (root only), else says what cannot be had.
#
# None of them is needed to go on, except with CI=true, where a missing tool is a failure.
# HADAPT_APT=0 installs nothing. Usage: tools/debian_tools.sh [demo | dev]
set -euo pipefail

install_limit_s=1800
# Probe (a command, or a file that may have wildcards), packages, what is lost without it.
tools=(
    "gcc|gcc libc6-dev|gcc on the host (zig compiles instead)"
    "clang|clang|clang on the host (zig compiles instead)"
    "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.a|libclang-rt-14-dev|clang's sanitizers"
    "arm-none-eabi-gcc|gcc-arm-none-eabi|gcc for Cortex-M (zig compiles instead)"
    "/usr/lib/arm-none-eabi/newlib/libc.a|libnewlib-arm-none-eabi|gcc's library for Cortex-M"
    "riscv64-unknown-elf-gcc|gcc-riscv64-unknown-elf|gcc for RV32"
    "qemu-system-arm|qemu-system-arm|Cortex-M55; QEMU for the others (Unicorn emulates instead)"
    "qemu-system-riscv32|qemu-system-misc|RV32"
)
# Of the tests alone.
test_tools=(
    "chromium|chromium|browser tests of the dashboard"
    "cmake|cmake|checks of the CMake, Zephyr and ESP-IDF layouts"
    "/usr/lib/postgresql/*/bin/initdb|postgresql|tests on PostgreSQL"
    "frama-c|frama-c-base why3|the proof that the integer kernels do not overflow"
    "z3|z3|a prover for it"
    "cvc4|cvc4|a prover for it"
    "openssl|openssl|an independent check of signatures"
    "nginx|nginx-light|the proxy of docker/, run with its real configuration"
    "/usr/lib/*/faketime/libfaketime.so.1|faketime|tests of a clock that is set while the service runs"
    "wrk|wrk|make load"
    "swupdate|swupdate|the proof that an unmodified client installs our packets"
)
[ "${1:-dev}" = demo ] || tools+=("${test_tools[@]}")

say() { printf 'setup: %s\n' "$*" >&2; }

is_there() {
    case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing() {
    local tool
    for tool in "${tools[@]}"; do
        is_there "${tool%%|*}" || echo "$tool"
    done
}

apt() {
    DEBIAN_FRONTEND=noninteractive timeout "$install_limit_s" apt-get -y -qq \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 -o Acquire::http::Timeout=60 "$@" </dev/null >&2
}

# All at once, which is faster; one by one if a package does not exist here.
install() {
    local tool packages=()
    for tool in "$@"; do
        tool=${tool#*|}
        read -ra names <<<"${tool%%|*}"
        packages+=("${names[@]}")
    done
    say "installing from Debian (once): ${packages[*]}"
    apt update || say "apt-get update failed; going on with the lists there are"
    apt install --no-install-recommends "${packages[@]}" && return
    for tool in "${packages[@]}"; do
        apt install --no-install-recommends "$tool" || true
    done
}

mapfile -t lacking < <(missing)
[ "${#lacking[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && [ "${HADAPT_APT:-1}" = 1 ] && command -v apt-get >/dev/null 2>&1; then
    install "${lacking[@]}"
    mapfile -t lacking < <(missing)
fi
for tool in "${lacking[@]}"; do
    rest=${tool#*|}
    say "not to be had here: ${tool##*|} (Debian: ${rest%%|*})"
done
if [ "${#lacking[@]}" -gt 0 ] && [ "${CI:-}" = true ]; then
    say "CI=true: a missing tool is a failure"
    exit 1
fi
