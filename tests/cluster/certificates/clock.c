// Preloaded into the webhook: the wall clock, shifted by the seconds in the file that WRITGATE_CLOCK names. The other clocks are
// those of the machine. The file is mapped, so a shift is in force at once.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long none = 0;
static volatile long long *shift = &none;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("WRITGATE_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) _exit(1);
    void *mapped = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) _exit(1);
    shift = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += *shift;
    return result;
}
