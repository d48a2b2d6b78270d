#!/bin/sh
# Makes .venv with everything that the Makefile's targets need. Usage: tools/setup.sh .venv
# Safe to repeat. Needs Python 3.11 or later with its venv module; on Debian, as root, it installs the latter.
set -eu

venv=$1

# A name on PATH is not yet a Python that runs (version managers leave empty shims), so each is tried.
find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or later on PATH. Install one (Debian: apt-get install python3 python3-venv)." >&2
    exit 1
}

has_venv() {
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1
}

install_venv_module() {
    package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup: $python lacks its venv module. Install it (Debian: apt-get install $package) and try again." >&2
        exit 1
    fi
    echo "setup: installing $package"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
}

python=$(find_python)
has_venv || install_venv_module

echo "setup: $venv with $("$python" --version)"
"$python" -m venv "$venv"

# The build backend first and pinned like the rest, so that building the package asks the network for nothing.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --no-build-isolation --editable '.[examples,dev]'
