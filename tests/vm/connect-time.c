/* A stand-in for a data plane that translates when a socket connects, as Cilium's and Calico's do: attaches a program to a
 * cgroup, which turns connections to one address and port into ones to another. IPv4 only.
 *
 *     connect-time CGROUP ADDRESS PORT TO-ADDRESS TO-PORT
 *
 * It stays attached until the cgroup is removed. bpf(2), include/uapi/linux/bpf.h (struct bpf_sock_addr). */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSN(c, d, s, o, i) {.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (int)(i)}
#define LOAD(d, field) INSN(BPF_LDX | BPF_MEM | BPF_W, d, 1, offsetof(struct bpf_sock_addr, field), 0)
#define STORE(s, field) INSN(BPF_STX | BPF_MEM | BPF_W, 1, s, offsetof(struct bpf_sock_addr, field), 0)
#define SET(d, value) INSN(BPF_ALU | BPF_MOV | BPF_K, d, 0, 0, value)

static int bpf(int command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

int main(int count, char **words) {
    if (count != 6) return 2;
    uint32_t from = inet_addr(words[2]), to = inet_addr(words[4]);
    uint16_t port = htons((uint16_t)atoi(words[3])), to_port = htons((uint16_t)atoi(words[5]));
    struct bpf_insn program[] = {
        LOAD(2, user_ip4),
        SET(3, from),
        INSN(BPF_JMP | BPF_JNE | BPF_X, 2, 3, 6, 0),
        LOAD(2, user_port),
        INSN(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 4, port),
        SET(2, to),
        STORE(2, user_ip4),
        SET(2, to_port),
        STORE(2, user_port),
        INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1), /* let it connect */
        INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    union bpf_attr load, attach;
    memset(&load, 0, sizeof load);
    load.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
    load.expected_attach_type = BPF_CGROUP_INET4_CONNECT;
    load.insns = (uintptr_t)program;
    load.insn_cnt = sizeof program / sizeof *program;
    load.license = (uintptr_t) "GPL";
    int loaded = bpf(BPF_PROG_LOAD, &load);
    if (loaded < 0) return perror("loading the program"), 1;
    memset(&attach, 0, sizeof attach);
    attach.target_fd = (uint32_t)open(words[1], O_RDONLY);
    attach.attach_bpf_fd = (uint32_t)loaded;
    attach.attach_type = BPF_CGROUP_INET4_CONNECT;
    if (bpf(BPF_PROG_ATTACH, &attach) < 0) return perror(words[1]), 1;
    return 0;
}
