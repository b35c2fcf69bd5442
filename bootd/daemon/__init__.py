"""The daemon: main loop, jobs, D-Bus objects, polkit, schedule, sd_notify."""
