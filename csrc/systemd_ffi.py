"""Declares pyrunc._systemd: the part of libsystemd's sd-bus that pyrunc.cgroups.dbus calls.

No extension: the module holds these declarations alone, and libsystemd.so.0 is loaded when the
systemd cgroup driver is asked for.  So neither a build nor a host without systemd needs it.  All of
these are there since systemd 221, and none takes a variable number of arguments.
"""

import cffi

systemd_ffi = cffi.FFI()
systemd_ffi.cdef(
    """
    typedef struct sd_bus sd_bus;
    typedef struct sd_bus_message sd_bus_message;
    typedef struct { const char *name; const char *message; int _need_free; } sd_bus_error;

    int sd_bus_open_system(sd_bus **ret);
    int sd_bus_open_user(sd_bus **ret);
    int sd_bus_new(sd_bus **ret);
    int sd_bus_set_address(sd_bus *bus, const char *address);
    int sd_bus_set_bus_client(sd_bus *bus, int b);
    int sd_bus_start(sd_bus *bus);
    int sd_bus_get_unique_name(sd_bus *bus, const char **unique);
    int sd_bus_get_fd(sd_bus *bus);
    void sd_bus_close(sd_bus *bus);
    sd_bus *sd_bus_unref(sd_bus *bus);

    int sd_bus_message_new_method_call(sd_bus *bus, sd_bus_message **m, const char *destination,
                                       const char *path, const char *interface,
                                       const char *member);
    int sd_bus_message_append_basic(sd_bus_message *m, char type, const void *p);
    int sd_bus_message_append_array(sd_bus_message *m, char type, const void *ptr, size_t size);
    int sd_bus_message_open_container(sd_bus_message *m, char type, const char *contents);
    int sd_bus_message_close_container(sd_bus_message *m);

    int sd_bus_send(sd_bus *bus, sd_bus_message *m, uint64_t *cookie);
    int sd_bus_process(sd_bus *bus, sd_bus_message **r);
    int sd_bus_wait(sd_bus *bus, uint64_t timeout_usec);

    int sd_bus_message_get_reply_cookie(sd_bus_message *m, uint64_t *cookie);
    const sd_bus_error *sd_bus_message_get_error(sd_bus_message *m);
    const char *sd_bus_message_get_interface(sd_bus_message *m);
    const char *sd_bus_message_get_member(sd_bus_message *m);
    int sd_bus_message_is_signal(sd_bus_message *m, const char *interface, const char *member);
    int sd_bus_message_peek_type(sd_bus_message *m, char *type, const char **contents);
    int sd_bus_message_read_basic(sd_bus_message *m, char type, void *p);
    int sd_bus_message_enter_container(sd_bus_message *m, char type, const char *contents);
    int sd_bus_message_exit_container(sd_bus_message *m);
    sd_bus_message *sd_bus_message_unref(sd_bus_message *m);
    """
)
systemd_ffi.set_source("pyrunc._systemd", None)
