#!/bin/sh
# Whether the daemon runs with what is there, and its restart.
#
#     service.sh look|foresee|note|restart PROGRAM SERVICE CONFIG_DIR DATA_DIR
#
# look      prints "owed" when the daemon was last started with something else, and fails
#           when it would not start with what is there
# foresee   the same for a check, which may find a host with nothing on it
# note      writes down with what it was started just now
# restart   restarts a daemon that runs, when it would start, and writes that down
#
# What Ansible remembers of a change ends with its run.  So what the daemon was started
# with is written down, as one digest, after each start: a run that was killed anywhere
# leaves a difference, and the next one finds it.
set -u
what=$1 program=$2 service=$3 config=$4 data=$5
mark=$data/icefloe/ansible-started-with

# Of the identity nothing: the daemon renews it itself.
digest() {
    {
        "$program" --version
        for file in \
            "/etc/systemd/system/$service.service" \
            "/etc/systemd/system/$service.service.d"/*.conf \
            "/usr/lib/systemd/system/$service.service" \
            "$config/constants.conf" \
            "$config/zones.conf" \
            "$config/icefloe-children.conf" \
            "$config/features-enabled"/*.conf; do
            [ ! -f "$file" ] || sha256sum "$file"
        done
    } 2>/dev/null | sha256sum | cut -d ' ' -f 1
}

would_start() {
    # As the unit says it, or a drop-in.
    case $(systemctl show --property ExecStart "$service" 2>/dev/null) in
    *--without-monitoring*) set -- --without-monitoring ;;
    *) set -- ;;
    esac
    "$program" --config-dir "$config" --data-dir "$data" daemon --validate "$@" >&2 &&
        return
    echo "Not (re)started: the daemon would end. Correct what is said above." >&2
    exit 1
}

# The directory is the daemon's user's: nothing that stands there is written through.
note() {
    [ -d "$data/icefloe" ] || return 0
    new=$(mktemp "$mark.XXXXXX") && echo "$1" >"$new" && mv -fT "$new" "$mark"
}

is=$(digest)
case $what in
look | foresee)
    [ "$is" != "$(cat "$mark" 2>/dev/null)" ] || exit 0
    [ "$what" = foresee ] || would_start
    echo owed
    ;;
note)
    note "$is"
    ;;
restart)
    systemctl daemon-reload || exit
    case $(systemctl show --property ActiveState --value "$service") in
    active | activating | reloading | refreshing)
        would_start
        systemctl restart "$service" || exit
        echo restarted
        ;;
    esac
    note "$is"
    ;;
esac
