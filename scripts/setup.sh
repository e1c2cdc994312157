# Sourced by ./install, ./demo, ./test and .ci/run: installs what is missing, or says how.
# Only the packages named below are touched, and only with root or sudo.

# The kaspad that everything here was tried with.
# shellcheck disable=SC2034 # used by those that source this
KASPAD_VERSION=2.1.0

# Packages by group, Debian's and Ubuntu's names.
packages_of() {
    case "$1" in
        # kaspa-p2p-lib compiles its messages with protoc; quinn and ring compile C.
        build) echo "ca-certificates curl build-essential pkg-config protobuf-compiler libprotobuf-dev" ;;
        lab) echo "iproute2 nftables util-linux mount" ;;
        bench) echo "iperf3" ;;
        # A router that maps ports; this package alone has no service.
        mapping) echo "miniupnpd-nftables" ;;
        # With promtool.
        monitoring) echo "prometheus jq" ;;
        # The status page, in a browser: Debian's; Ubuntu has snaps instead.
        page) echo "chromium chromium-driver" ;;
        # kaspad compiles RocksDB.
        kaspad) echo "clang libclang-dev" ;;
    esac
}

# One program per package, by which its presence is known.
present() {
    case "$1" in
        ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
        build-essential) command -v cc >/dev/null && command -v g++ >/dev/null && command -v make >/dev/null ;;
        pkg-config) command -v pkg-config >/dev/null ;;
        protobuf-compiler) command -v protoc >/dev/null ;;
        libprotobuf-dev) [ -e /usr/include/google/protobuf/empty.proto ] ;;
        iproute2) command -v ip >/dev/null ;;
        nftables) PATH="$PATH:/usr/sbin:/sbin" command -v nft >/dev/null ;;
        miniupnpd-nftables) PATH="$PATH:/usr/sbin:/sbin" command -v miniupnpd >/dev/null ;;
        util-linux) command -v unshare >/dev/null && command -v nsenter >/dev/null ;;
        prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
        libclang-dev) compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null ;;
        chromium-driver) command -v chromedriver >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Installs packages as root, by `$@`. Some bring a service, which must not start, neither now nor
# at boot: only the programs are wanted.
install_packages() {
    "$@" sh -eu -s -- "${missing[@]}" <<'ROOT'
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq </dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
for package; do
    [ "$package" != prometheus ] || update-rc.d prometheus disable </dev/null >/dev/null
done
ROOT
}

need_tools() {
    # nft and ip live in /usr/sbin, which is not on every user's path.
    export PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"
    local missing=() group package
    for group in "$@"; do
        for package in $(packages_of "$group"); do
            present "$package" || missing+=("$package")
        done
    done
    if [ ${#missing[@]} -gt 0 ]; then
        local root=()
        if [ "$(id -u)" -ne 0 ]; then
            if command -v sudo >/dev/null; then
                root=(sudo)
            else
                echo "missing packages; as root, run: apt-get install -y ${missing[*]}" >&2
                exit 1
            fi
        fi
        if ! command -v apt-get >/dev/null; then
            echo "this is no Debian or Ubuntu; install by your own means: ${missing[*]}" >&2
            exit 1
        fi
        echo "installing ${missing[*]} ..." >&2
        install_packages "${root[@]}"
    fi
    if ! command -v cargo >/dev/null; then
        echo "installing Rust with rustup (https://rustup.rs) ..." >&2
        curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh |
            sh -s -- -y --profile default >&2
    fi
}
