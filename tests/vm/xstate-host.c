/* Preloaded after uml-xstate.c in its tests: a host whose extended registers take XSTATE_LENGTH bytes, whatever this
 * one's take. What such a kernel does (arch/x86/kernel/fpu/regset.c, kernel/ptrace.c): a length must be a multiple of 8; a
 * longer buffer counts as one of the state's length; GETREGSET fills a shorter one, SETREGSET answers EFAULT to it. What
 * this host does not have is zero, and must be, as for AMX without the permission to use it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*real)(enum __ptrace_request, ...);
static char whole[65536];
static size_t length;

__attribute__((constructor)) static void prepare(void) {
    real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
    length = strtoul(getenv("XSTATE_LENGTH"), 0, 10);
}

static long refuse(int error) {
    errno = error;
    return -1;
}

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
    va_end(arguments);
    if ((request != PTRACE_SETREGSET && request != PTRACE_GETREGSET) || address != (void *)NT_X86_XSTATE) return real(request, pid, address, data);
    struct iovec *given = data, state = {whole, sizeof whole};
    memset(whole, 0, sizeof whole);
    if (real(PTRACE_GETREGSET, pid, address, &state)) return -1;
    if (given->iov_len % 8) return refuse(EINVAL);
    if (given->iov_len > length) given->iov_len = length;
    if (request == PTRACE_GETREGSET) {
        memcpy(given->iov_base, whole, given->iov_len);
        return 0;
    }
    if (given->iov_len != length) return refuse(EFAULT);
    for (size_t i = state.iov_len; i < length; i++)
        if (((char *)given->iov_base)[i]) return refuse(EINVAL);
    memcpy(whole, given->iov_base, length < state.iov_len ? length : state.iov_len);
    return real(PTRACE_SETREGSET, pid, address, &state);
}
