# shellcheck shell=bash
# Boots a guest and brings back what its job printed. Sourced after lib.sh.
#
# A boot is tried a second time only if the kernel died before the job began (its first line is KPX-JOB-BEGIN): some
# kernels do, now and then, under emulation. Whatever happened after that line stays as it is.

# job_folder NAME FILE…: a folder with the binary, the guest's library, and these files; the first is what runs.
job_folder() {
    local folder=$RUN/$1 file
    shift
    mkdir -p "$folder"
    for file in "$VM_DIR/../support/reports.sh" "$VM_DIR/guest/lib/lib" "$@"; do cp "$file" "$folder/"; done
    cp "$KPX_PREP" "$folder/kpx-prep"
    printf '. /job/reports.sh\n. /job/lib\n. "/job/%s"\nend_reports\n' "$(basename "$1")" >"$folder/run"
    echo "$folder"
}

begun() { grep -q KPX-JOB-BEGIN "$1" 2>/dev/null; }

# boot_twice OUT COMMAND…
boot_twice() {
    local out=$1 try status
    shift
    for try in 1 2; do
        : >"$out"
        status=0
        "$@" || status=$?
        if begun "$out"; then
            [ "$status" = 0 ] || note "the guest ended with status $status (124: timed out)"
            return 0
        fi
        [ "$try" = 2 ] || note "the kernel died before the job began (status $status): booting once more"
    done
    return 1
}

# preloadable FILE.c: compiles it for LD_PRELOAD, once for each run.
preloadable() {
    local library=$RUN/$(basename "$1" .c).so
    # Bound at the start: a guest's kernel has little stack to look up functions on.
    [ -e "$library" ] || { gcc -O2 -Wall -Wextra -shared -fPIC -Wl,-z,now -o "$library.$BASHPID" "$VM_DIR/$1" && mv "$library.$BASHPID" "$library"; } >&2 || return 1
    echo "$library"
}

# uml_preload: what every User-Mode Linux is started with, on any host; see there.
uml_preload() { preloadable uml-xstate.c; }

# boot_uml IMAGE JOB SECONDS: the job's output is JOB/out, the console's JOB/console.
boot_uml() {
    local image=$1 job=$2 seconds=$3
    boot_twice "$job/out" uml_once || { not_ok "User-Mode Linux did not get as far as the job" "$job/console"; return 1; }
}

uml_once() {
    local preload
    preload=$(uml_preload) || return 1
    # In the foreground, here and below, so that whoever stops the test stops the guest.
    # Pinned to one processor: its threads hand over to each other all the time. Its own files stay out of $HOME.
    timeout --foreground -k 5 "$seconds" taskset -c "$(some_cpu)" env LD_PRELOAD="$preload" "$image/linux.uml" mem=256M uml_dir="$RUN/uml/" con=null con0=null,fd:1 \
        rootfstype=hostfs root=/dev/root rootflags="$image/root" ro init=/init kpxjob="$job" quiet \
        >"$job/console" 2>&1 </dev/null
}

# start_switch IMAGE: joins the nodes booted after it by a network that nothing else is in: $RUN/network is there then. It is
# in a network namespace of its own.
start_switch() {
    local try
    if old_network "$1"; then
        # There sockets between processes hold 1000 frames instead of 10: with 10, one new connection in a thousand loses a
        # frame as soon as the nodes are busy, and a second with it, or all of a datagram. It has little to do and everybody
        # waits for it.
        unshare -n sh -c 'echo 1000 >/proc/sys/net/unix/max_dgram_qlen; exec nice -n -15 "$@"' switch "$1/uml_switch" -unix "$RUN/network" >"$RUN/network.log" 2>&1 </dev/null &
    else
        # A bridge, and a tap for each of two nodes.
        unshare -n sh -ec 'ip link add switch type bridge mcast_snooping 0
            for n in 0 1; do
                ip tuntap add "node$n" mode tap
                ip link set "node$n" txqueuelen 1000 master switch up
            done
            ip link set switch up
            : >"$0"
            exec sleep infinity' "$RUN/network" >"$RUN/network.log" 2>&1 </dev/null &
    fi
    network=$!
    for try in 1 2 3 4 5 6 7 8 9 10; do [ ! -e "$RUN/network" ] || return 0; sleep 0.2; done
    cat "$RUN/network.log"
    return 1
}

# old_network IMAGE: its kernel is of before 6.16, and has the drivers of uml_switch.
old_network() { [[ $("$1/linux.uml" --help 2>&1) == *$'\neth['* ]]; }

# on_switch IMAGE N: what the kernel is told of its network, where there is one.
on_switch() {
    if [ ! -e "$RUN/network" ]; then return 0; fi
    if old_network "$1"; then echo "eth0=daemon,,unix,$RUN/network"; else echo "vec0:transport=tap,ifname=node$2,depth=128"; fi
}

# boot_node NAME IMAGE JOB SECONDS [MEMORY [N]]: a node of a cluster (cluster_image), on a throw-away layer over its disk.
# Nodes that run at the same time each want a processor of their own: N.
boot_node() {
    local name=$1 image=$2 job=$3 seconds=$4 memory=${5:-2500M} processor=${6:-0} disk
    disk=$RUN/$name.cow,$image/disk.img
    boot_twice "$job/out" node_once || { not_ok "the node $name did not get as far as its job" "$job/console"; return 1; }
}

node_once() {
    local device join= preload
    preload=$(uml_preload) || return 1
    device=$(on_switch "$image" "${processor:-0}")
    [ -z "$device" ] || join="nsenter -t $network -n"
    rm -f "$RUN/$name.cow"
    keep_awake "$name" "$job" >/dev/null 2>&1 </dev/null &
    local awake=$! status=0
    # Unquoted: words, or nothing.
    $join timeout --foreground -k 5 "$seconds" taskset -c "$(some_cpu "${processor:-0}")" env LD_PRELOAD="$preload" "$image/linux.uml" mem="$memory" umid="$name" uml_dir="$RUN/uml/" \
        con=null con0=null,fd:1 seccomp=auto ubd0="$disk" $device root=/dev/ubda rootfstype=ext4 rw init=/usr/sbin/kpx-init kpxjob="$job" quiet \
        >"$job/console" 2>&1 </dev/null || status=$?
    kill "$awake" 2>/dev/null
    return "$status"
}

# keep_awake NAME JOB: that kernel sets the time of its next tick itself, each time, and now and then it loses one. Then none
# ever comes, and where a process spins the whole node stands still: seen with a node under load, and one SIGALRM had it
# run on. One too many does no harm, once the job runs: before there is nobody to take it.
keep_awake() {
    local pid
    until [ -s "$2/out" ]; do sleep 1; done
    while pid=$(cat "$RUN/uml/$1/pid") && kill -ALRM "$pid"; do sleep 0.2; done
}

# some_cpu [N]: one of the processors this process may use; another N is another one, as long as there are more.
some_cpu() {
    local list part cpus=()
    list=$(taskset -cp $$ | sed 's/.*: //')
    for part in ${list//,/ }; do
        # Unquoted: "0-3" is many, "4" is one.
        cpus+=($(seq "${part%-*}" "${part#*-}"))
    done
    echo "${cpus[-1 - ${1:-0} % ${#cpus[@]}]}"
}

# The processor model and the switches are those under which every Debian kernel tried so far boots without KVM.
qemu() { # qemu SECONDS OUT CONSOLE KERNEL INITRD ARGUMENT…
    local seconds=$1 out=$2 console=$3 kernel=$4 initrd=$5
    shift 5
    timeout --foreground -k 5 "$seconds" qemu-system-x86_64 -M pc -accel tcg,thread=multi,tb-size=512 -cpu Nehalem,cx16=off -smp "${QEMU_CPUS:-2}" \
        -nodefaults -no-user-config -display none -serial "file:$console" -serial "file:$out" \
        -kernel "$kernel" -initrd "$initrd" "$@" </dev/null 2>>"$console.qemu"
}

QEMU_APPEND="console=ttyS0 panic=-1 quiet mitigations=off tsc=unstable no_timer_check"

# cpio_of FOLDER NAME: FOLDER as an archive that unpacks to /NAME, to be appended to an initrd.
cpio_of() {
    local stage
    stage=$(mktemp -d "$RUN/cpio.XXXXXX")
    cp -a "$1" "$stage/$2"
    (cd "$stage" && find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0)
    rm -rf "$stage"
}

# boot_qemu IMAGE JOB SECONDS: a guest without a disk; the job's output is JOB/out.
boot_qemu() {
    local image=$1 job=$2 seconds=$3 initrd=$RUN/initrd.cpio
    { cat "$image/initrd.cpio"; cpio_of "$job" job; } >"$initrd"
    boot_twice "$job/out" qemu "$seconds" "$job/out" "$job/console" "$image/vmlinuz" "$initrd" -m 768 -no-reboot -append "$QEMU_APPEND" ||
        { not_ok "the guest in QEMU did not get as far as the job" "$job/console"; return 1; }
    rm -f "$initrd"
}
