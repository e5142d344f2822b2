#!/usr/bin/env bash
# Makes what a local system needs: .venv from requirements.lock, and RabbitMQ; then Debian's packages that are named as
# arguments. Quick when all is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

POLICY=/usr/sbin/policy-rc.d
ASIDE=$POLICY.aside

fail() {
    echo "$*" >&2
    exit 1
}

find_python() {
    local name
    for name in python3.11 python3; do
        "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$name" && return
    done
    fail "Python 3.11 is not installed: run \`apt-get install python3.11-venv\`."
}

make_venv() {
    local python
    python=$(find_python)
    mkdir -p .venv
    exec 9<.venv
    flock 9 # two makes at the same time install once
    cmp -s requirements.lock .venv/requirements.lock && return
    echo "installing requirements.lock into .venv"
    .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
        "$python" -m venv --clear .venv ||
        fail "Python cannot make virtual environments: run \`apt-get install python3.11-venv\`."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
    cp requirements.lock .venv/requirements.lock
}

may_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

install_rabbitmq() {
    may_install || fail "RabbitMQ is not installed: run \`apt-get install rabbitmq-server\` as root, or set AMQP_URI."
    install_package rabbitmq-server
    # The package's own broker and epmd would listen on all addresses after the next boot.
    systemctl disable rabbitmq-server epmd.socket epmd.service 2>/dev/null || true
}

install_package() {
    echo "installing Debian's $1"
    forbid_services
    apt_install "$1" || { apt-get -qq update && apt_install "$1"; } || fail "$1 could not be installed."
    allow_services
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "$1" >/dev/null
}

# Debian asks this file whether a package may start its service; 101 means no.
forbid_services() {
    trap allow_services EXIT
    [ ! -e $POLICY ] || mv $POLICY $ASIDE
    printf '#!/bin/sh\nexit 101\n' >$POLICY
    chmod 755 $POLICY
}

allow_services() {
    trap - EXIT
    rm -f $POLICY
    [ ! -e $ASIDE ] || mv $ASIDE $POLICY
}

has_package() {
    dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null | grep -q ' installed$'
}

cmp -s requirements.lock .venv/requirements.lock || make_venv
[ -n "${AMQP_URI:-}" ] || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null ||
    install_rabbitmq
for package; do
    has_package "$package" || { may_install && install_package "$package"; } ||
        fail "$package is not installed: run \`apt-get install $package\` as root."
done
