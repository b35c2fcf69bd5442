#!/bin/bash
# dracut module: an initramfs that can boot a deployment of bootd. See dracut.modules(7).

# Asked for by name (bootd.conf): a machine that bootd does not manage has no use for it.
check() {
    require_binaries mount umount rmdir || return 1
    return 255
}

depends() {
    echo systemd rootfs-block
}

installkernel() {
    # shellcheck disable=SC2154 # set by dracut
    hostonly='' instmods erofs overlay loop efivarfs
    # A store may name its objects by SHA-512 (bootctl-py install --store-hash), and then no file of it opens
    # without. A kernel that has it built in lacks these; fs-verity keeps the first it gets, so it is a fast one.
    hostonly='' instmods sha512_generic sha512_ssse3 sha512-arm64 sha512-ce
}

install() {
    # shellcheck disable=SC2154 # these variables are set by dracut
    {
        inst_multiple cat ls sleep mount umount mkdir rmdir
        # Only for bootd.integrity=verity.
        inst_multiple -o fsverity
        inst_simple "$moddir/bootd-root" /usr/libexec/bootd-root
        inst_simple "$moddir/bootd-root.service" "$systemdsystemunitdir/bootd-root.service"
        for unit in bootd-initramfs-deadline.timer bootd-initramfs-deadline.service; do
            inst_simple "$moddir/$unit" "$systemdsystemunitdir/$unit"
        done
        inst_hook cmdline 00 "$moddir/bootd-emergency.sh"
        $SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target bootd-root.service
        $SYSTEMCTL -q --root "$initdir" add-wants sysinit.target bootd-initramfs-deadline.timer
    }
}
