#ifndef RUNTIME_HAND_OVER_H
#define RUNTIME_HAND_OVER_H

/* What ThreadSanitizer cannot see by itself: all before hand_over(x) in one
 * thread happens before all after take_over(x) in another.  Nothing in other
 * builds. */
#ifdef CHORUS_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define hand_over(address) __tsan_release((void *)(address))
#define take_over(address) __tsan_acquire((void *)(address))
#else
#define hand_over(address) ((void)(address))
#define take_over(address) ((void)(address))
#endif

#endif
