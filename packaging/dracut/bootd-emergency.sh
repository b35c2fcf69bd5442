#!/bin/sh
# An initramfs that cannot go on reboots, which uses up a try, instead of waiting in a shell that
# nobody sees; the boot loader falls back when the tries are used up. bootd.shell keeps the shell.
# dracut sources this in its cmdline hook.

if getarg bootd= >/dev/null && ! getargbool 0 bootd.shell; then
    echo "rd.shell=0 rd.emergency=reboot" >/etc/cmdline.d/90-bootd.conf
fi
