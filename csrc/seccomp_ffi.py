"""Declares pyrunc._seccomp: the few functions of libseccomp that pyrunc.seccomp_filter calls.

A separate extension, because most runs find their filter in the cache and never load libseccomp.
Builds with libseccomp 2.5 and newer.
"""

import cffi

seccomp_ffi = cffi.FFI()
seccomp_ffi.cdef(
    """
    #define __NR_SCMP_ERROR ...
    #define SCMP_FLTATR_CTL_OPTIMIZE ...
    #define SCMP_CMP_NE ...
    #define SCMP_CMP_LT ...
    #define SCMP_CMP_LE ...
    #define SCMP_CMP_EQ ...
    #define SCMP_CMP_GE ...
    #define SCMP_CMP_GT ...
    #define SCMP_CMP_MASKED_EQ ...

    typedef void *scmp_filter_ctx;
    struct scmp_version { unsigned int major, minor, micro; ...; };
    /* op is an enum in the header; C converts. */
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a, datum_b; };

    const struct scmp_version *seccomp_version(void);
    uint32_t seccomp_arch_native(void);
    uint32_t seccomp_arch_resolve_name(const char *arch_name);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);

    scmp_filter_ctx seccomp_init(uint32_t def_action);
    void seccomp_release(scmp_filter_ctx ctx);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
    int seccomp_attr_set(scmp_filter_ctx ctx, int attr, uint32_t value);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall,
                               unsigned int count, const struct scmp_arg_cmp *conditions);
    int seccomp_export_bpf(scmp_filter_ctx ctx, int fd);

    /* The file libseccomp was loaded from. */
    const char *library_path(void);
    """
)
seccomp_ffi.set_source(
    "pyrunc._seccomp",
    r"""
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <dlfcn.h>
    #include <seccomp.h>

    #if SCMP_VER_MAJOR < 2 || (SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR < 5)
    #error "pyrunc needs libseccomp 2.5 or newer"
    #endif

    static const char *library_path(void)
    {
        Dl_info info;

        if (!dladdr((void *)seccomp_version, &info) || !info.dli_fname)
            return "";
        return info.dli_fname;
    }
    """,
    libraries=["seccomp"],
    extra_compile_args=["-std=gnu11", "-O2"],
)
