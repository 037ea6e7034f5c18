/* Preloaded into every User-Mode Linux, for hosts whose processors have more registers than that kernel knows of.
 *
 * Debian's 6.1 keeps the extended registers of a process in 2,696 bytes and hands these to the host by PTRACE_SETREGSET,
 * NT_X86_XSTATE. A host takes nothing shorter than its own state, 11,008 bytes with AMX (Sapphire Rapids and later), and
 * answers EFAULT: the guest dies at its first exec (in put_fp_registers). Kernels from 6.13 on ask the host for the size.
 *
 * What is missing at the end is added here as zeros, the initial state of registers that no process in a guest can use:
 * AMX needs a permission (arch_prctl) that User-Mode Linux never asks for. Nothing else is changed: where the host takes
 * what it gets, it gets what it got before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*host)(enum __ptrace_request, ...);
/* Not on the stack, as those of that kernel have 16 KiB. It has one processor, and one thread that calls this. */
static char whole[65536];
/* How long the host's state is, once it was found to be longer than what it was given; else 0. */
static size_t length;

/* At the start, while the stack is the process's own. */
__attribute__((constructor)) static void find_host(void) { host = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace"); }

static int too_short(size_t given, pid_t pid) {
    struct iovec state = {whole, sizeof whole};
    if (!length && !host(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &state)) length = state.iov_len;
    return given < length;
}

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
    va_end(arguments);
    struct iovec *given = data;
    int registers = request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE;
    if (!registers || !length || given->iov_len >= length) {
        long result = host(request, pid, address, data);
        if (!registers || result != -1 || errno != EFAULT) return result;
        if (!too_short(given->iov_len, pid)) {
            errno = EFAULT;
            return -1;
        }
    }
    struct iovec state = {whole, length};
    memcpy(whole, given->iov_base, given->iov_len);
    memset(whole + given->iov_len, 0, length - given->iov_len);
    return host(request, pid, address, &state);
}
