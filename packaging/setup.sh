#!/usr/bin/env bash
# Makes what the Makefile's verbs run in: the system's packages, and the virtual environment .venv.
#
#   packaging/setup.sh venv      what every verb needs: Python, a C compiler, .venv from the lock files
#   packaging/setup.sh kernel    the same, what reads and writes rules (only root can, so only root gets it), and what the tests hold the release to
#   packaging/setup.sh browser   a headless Chromium for the tests of the pages, where Debian's can be had; elsewhere they are skipped
#   packaging/setup.sh release   Ruby, which renders alerts; without it they are not made, and make_release.py says so
#   packaging/setup.sh packages  what fresh Debian systems are made and booted with, to install in; and lintian
#   packaging/setup.sh fuzz      atheris into .venv, where it has a wheel; `make fuzz` does without it elsewhere
#   packaging/setup.sh lock      rewrites the lock files; arguments go to `uv pip compile` (--upgrade, …)
#
# PYTHON names the interpreter to use; without it the newest one that works is found. pip's own settings
# (PIP_*, pip.conf) hold as they are. What is there already is neither installed nor built again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps iptables, and people's PATH often lacks it

readonly venv=.venv
readonly locks=(packaging/requirements-build.txt packaging/requirements-dev.txt)
readonly uv_version=0.13.9
readonly atheris_version=3.0.0

# Debian packages by purpose. python-iptables comes as source only: it needs a compiler, but not Python's headers.
readonly build_packages=(python3-venv gcc libc6-dev)
readonly kernel_packages=(iptables iproute2 nftables procps util-linux curl systemd ruby prometheus prometheus-alertmanager)
readonly release_packages=(ruby)
readonly root_packages=(debootstrap systemd-container lintian)
readonly browser_packages=(chromium chromium-driver fonts-dejavu-core)

die() {
    echo "c2c-auditor: $*" >&2
    exit 1
}

# Whether what a package is needed for works already, whoever installed it.
works() {
    case $1 in
        python3-venv) find_python ;;
        gcc) command -v gcc ;;
        libc6-dev) gcc -E -x c - <<<'#include <stdio.h>' ;;
        iptables) command -v iptables-nft-save && command -v iptables-legacy-save ;;
        iproute2) command -v ip ;;
        nftables) command -v nft ;;
        procps) command -v ps ;;
        util-linux) command -v setpriv && command -v unshare ;;
        curl) command -v curl ;;
        systemd) command -v systemd-analyze ;;
        ruby) command -v ruby ;;
        debootstrap) command -v debootstrap ;;
        systemd-container) command -v systemd-nspawn ;;
        lintian) command -v lintian ;;
        chromium) command -v chromium ;;
        chromium-driver) command -v chromedriver ;;
        fonts-dejavu-core) [[ -d /usr/share/fonts/truetype/dejavu ]] ;;
        prometheus) command -v prometheus && command -v promtool ;;
        prometheus-alertmanager) command -v prometheus-alertmanager && command -v amtool ;;
        *) false ;;
    esac >/dev/null 2>&1
}

# Prints the interpreter to build .venv with: the newest of the versions that are tested, else whatever python3 is.
# Each one found is tried, not trusted: a pyenv shim may stand for nothing, and Debian's has no ensurepip until
# python3-venv is there.
find_python() {
    local name path
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3.10 python3}; do
        while read -r path; do
            "$path" - 2>/dev/null <<'PYTHON' && return
import sys
import ensurepip, ssl, venv

if sys.version_info < (3, 10):
    sys.exit(1)
print(sys.executable)
PYTHON
        done < <(type -aP "$name")
    done
    return 1
}

missing() {
    local package
    for package in "$@"; do
        works "$package" || echo "$package"
    done
}

# Tries to install packages. One of the system's sources may fail and not matter: what is there afterwards decides.
install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null || true
    apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" </dev/null >/dev/null || true
}

# Installs those of the packages that are missing, or ends with one line that names them.
require() {
    local lacking
    [[ -z ${PYTHON:-} ]] || works python3-venv || die "PYTHON=$PYTHON is no Python >= 3.10 that can make a venv"
    mapfile -t lacking < <(missing "$@")
    ((${#lacking[@]})) || return 0
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        install "${lacking[@]}"
        mapfile -t lacking < <(missing "$@")
        ((${#lacking[@]})) || return 0
    fi
    case " ${lacking[*]} " in
        *" python3-venv "*) die "install these first (Debian's names; Python must be >= 3.10): ${lacking[*]}" ;;
        *) die "install these first (Debian's names): ${lacking[*]}" ;;
    esac
}

digest() {
    { pwd; cat "$@"; } | sha256sum
}

# Builds .venv anew when a lock file changed, the tree moved or its Python is gone; installs the project anew when only
# pyproject.toml changed. Two makes at once take turns.
make_venv() {
    exec 9<"packaging/setup.sh"
    flock 9
    local locked project pip=("$venv/bin/python" -m pip --disable-pip-version-check)
    locked=$(digest "${locks[@]}")
    project=$(digest pyproject.toml)
    if [[ $(cat "$venv/locked.stamp" 2>/dev/null) != "$locked" ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        local python
        python=$(find_python)
        echo "c2c-auditor: building $venv with $("$python" --version)"
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "${pip[@]}" install --quiet --require-hashes -r packaging/requirements-build.txt
        "${pip[@]}" install --quiet --require-hashes --no-build-isolation -r packaging/requirements-dev.txt
        echo "$locked" >"$venv/locked.stamp"
    fi
    if [[ $(cat "$venv/project.stamp" 2>/dev/null) != "$project" ]]; then
        "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
        echo "$project" >"$venv/project.stamp"
    fi
}

lock() {
    local python tool
    python=$(find_python)
    tool=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory of now
    trap "rm -rf '$tool'" EXIT
    "$python" -m venv "$tool"
    "$tool/bin/python" -m pip install --quiet "uv==$uv_version"
    # Universal, with as few versions as can be: one set of wheels serves every Python and both architectures.
    local compile=("$tool/bin/uv" pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest
        --generate-hashes --python "$tool/bin/python" --no-python-downloads --custom-compile-command "make lock" "$@")
    "${compile[@]}" --output-file packaging/requirements-runtime.txt pyproject.toml >/dev/null
    "${compile[@]}" --output-file packaging/requirements-dev.txt --constraints packaging/requirements-runtime.txt \
        --group dev pyproject.toml >/dev/null
    "${compile[@]}" --output-file packaging/requirements-build.txt --group build >/dev/null
}

case ${1:-} in
    venv)
        require "${build_packages[@]}"
        make_venv
        ;;
    kernel)
        if ((EUID == 0)); then
            require "${build_packages[@]}" "${kernel_packages[@]}"
        else
            require "${build_packages[@]}"
        fi
        make_venv
        ;;
    browser)
        mapfile -t lacking < <(missing "${browser_packages[@]}")
        if ((${#lacking[@]} && EUID == 0)) && command -v apt-get >/dev/null; then
            install "${lacking[@]}"
            mapfile -t lacking < <(missing "${browser_packages[@]}")
        fi
        ((${#lacking[@]} == 0)) || echo "c2c-auditor: the pages are not tried in a browser: ${lacking[*]} (Debian's names) cannot be had here"
        ;;
    release)
        mapfile -t lacking < <(missing "${release_packages[@]}")
        if ((${#lacking[@]} && EUID == 0)) && command -v apt-get >/dev/null; then
            install "${lacking[@]}"
        fi
        ;;
    packages)
        ((EUID == 0)) || die "only root can make and boot Debian systems"
        require "${root_packages[@]}"
        ;;
    fuzz)
        "$venv/bin/python" -c 'import atheris' 2>/dev/null ||
            "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary :all: "atheris==$atheris_version" ||
            echo "c2c-auditor: atheris $atheris_version has no wheel for this Python: mutations without coverage instead"
        ;;
    lock)
        require python3-venv
        lock "${@:2}"
        ;;
    *) die "usage: packaging/setup.sh venv | kernel | browser | release | packages | fuzz | lock [ARGUMENT…]" ;;
esac
