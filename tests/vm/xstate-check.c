/* What uml-xstate.c must do, on a process of its own: xstate-check GIVEN: reads that process's extended registers into GIVEN
 * bytes, changes one of them and writes them back, as User-Mode Linux does between a guest's processes. Prints what
 * came of it: "written", or the host's error. Exits with 1 where anything but that call changed. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the XSAVE area has the first SSE register, and which parts are not in their initial state. */
enum { XMM0 = 160, PARTS = 512, SSE = 2 };

static void broken(const char *what) {
    printf("broken: %s: %s\n", what, strerror(errno));
    exit(1);
}

int main(int count, char **argument) {
    static char state[65536], again[65536];
    size_t given = count == 2 ? strtoul(argument[1], 0, 10) : 0;
    struct iovec vector = {state, given};
    pid_t child = fork();
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, 0, 0);
    /* Calls that are none of its business: an answer, a word of memory, and an error. */
    errno = 0;
    if (ptrace(PTRACE_PEEKDATA, child, (void *)argument, 0) != (long)argument[0] || errno) broken("PEEKDATA");
    if (ptrace(PTRACE_GETREGSET, 1 << 30, (void *)NT_X86_XSTATE, &vector) != -1 || errno != ESRCH) broken("a process that is not there");
    if (ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &vector)) {
        puts(strerror(errno));
        return 0;
    }
    for (int i = 0; i < 16; i++) state[XMM0 + i] = i + 1;
    state[PARTS] |= SSE;
    vector.iov_len = given;
    if (ptrace(PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, &vector)) {
        puts(strerror(errno));
        return 0;
    }
    vector = (struct iovec){again, given};
    if (ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &vector)) broken("GETREGSET");
    if (memcmp(state + XMM0, again + XMM0, 16)) broken("the register is another");
    kill(child, SIGKILL);
    puts("written");
    return 0;
}
