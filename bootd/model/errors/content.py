"""The publisher of the image has to act: what was served is wrong."""

from bootd.model.errors.base import NOT_VERIFIED, BootdError


class ContentError(BootdError, family=True):
    """What was served is wrong; the publisher of the image has to act.

    Attributes:
        layer: the number of the layer that is wrong by itself, whatever image it is in; the lowest
            is 1. None: it is not a matter of one layer alone, or not known of which.
    """

    layer: int | None = None


class VerificationError(ContentError, family=True):
    """What was served is not what was promised."""

    exit_status = NOT_VERIFIED


class DigestMismatchError(VerificationError):
    """Bytes do not have the digest they were asked for by."""

    default_hint = "Nothing was kept. Try again; if it repeats, the registry or a proxy is damaged."


class SizeMismatchError(VerificationError):
    """A blob is longer or shorter than its descriptor says."""

    default_hint = "Nothing was kept. Try again; if it repeats, push the image anew."


class DiffIdMismatchError(VerificationError):
    """An unpacked layer does not have the diff ID its image promises."""

    default_hint = "Nothing was kept. Push the image anew: its configuration and layers disagree."


class InvalidManifestError(ContentError):
    """A manifest, index or image configuration cannot be understood."""

    default_hint = "Push the image anew with a current tool (skopeo, buildah, podman)."


class ManifestTooLargeError(ContentError):
    """A manifest is larger than the bound."""

    default_hint = "A manifest of this size is not an OS image; check the reference."


class UnknownMediaTypeError(ContentError):
    """A manifest or layer has a media type that bootd does not know."""

    default_hint = "bootd takes OCI and Docker schema 2 images with tar layers (plain, gzip, zstd)."


class NoMatchingPlatformError(ContentError):
    """An index has no image for this machine's architecture."""

    default_hint = "Publish the image for this architecture or follow another reference."


class InvalidLayerError(ContentError):
    """A layer's tar stream is damaged or holds an entry that must not be followed."""

    default_hint = (
        "Nothing was kept. The fault is in the image, not on this machine: build it anew and push "
        "it."
    )


class InvalidImageError(ContentError, family=True):
    """An image is well-formed but no host could boot it."""


class NoKernelError(InvalidImageError):
    """An image has no kernel."""

    default_hint = "Install a kernel as /usr/lib/modules/<version>/vmlinuz in the image."


class NoInitramfsError(InvalidImageError):
    """An image has no initramfs."""

    default_hint = (
        "Build /usr/lib/modules/<version>/initramfs.img in the image, with bootd's module."
    )


class NoDevicetreeError(InvalidImageError):
    """An image does not have the devicetree that is named for the board."""

    default_hint = (
        "Name one that the image has, in /etc/kernel/devicetree (kernel-install(8)), or leave "
        "that file empty where the firmware brings one."
    )


class NoBootLoaderError(InvalidImageError):
    """An image has no boot loader that could be put on a disk."""

    default_hint = "Install systemd-boot in the image (Debian: the package systemd-boot-efi)."


class SeveralKernelsError(InvalidImageError):
    """An image has more than one kernel."""

    default_hint = "Leave one folder with a vmlinuz under /usr/lib/modules in the image."


class InvalidTreeError(InvalidImageError):
    """An image's tree cannot be laid out as bootd needs it."""

    default_hint = "'bootctl-py lint' in the image's build says what to change."


class NoLabelsError(InvalidImageError):
    """An image enforces an SELinux policy that cannot label its files."""

    default_hint = (
        "Install the whole policy in the image, or set SELINUX=permissive in its "
        "/etc/selinux/config until that is done."
    )


class InvalidKernelArgumentsError(InvalidImageError):
    """A kernel argument file of an image cannot be used."""

    default_hint = "Mend the named file under /usr/lib/bootc/kargs.d in the image."
