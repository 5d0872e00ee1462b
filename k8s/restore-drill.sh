#!/bin/sh
# A restore without Medusa: save the service's tables from every node, and import them into an empty cluster.
#
#   sh k8s/restore-drill.sh save FOLDER       # takes a snapshot on every node and copies it into FOLDER
#   sh k8s/restore-drill.sh restore FOLDER    # imports it; the schema Job of the chart must have run before
#
# Each node gets its own files back, so the new cluster must have as many nodes as replicas: one in k8s/k8ssandra/dev,
# three in prod. The copy is made file by file: this is for drills and small data, not for terabytes.
set -eu

namespace=${NAMESPACE:-player-sessions}
keyspace=${KEYSPACE:-player_sessions}
data=${DATA:-/var/lib/cassandra/data}
pods=$(kubectl get pods --namespace "$namespace" --selector cassandra.datastax.com/cluster=player-sessions \
    --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')

on() { # POD COMMAND...: run the command in the pod; standard input goes to it
    pod=$1
    shift
    kubectl exec -i --namespace "$namespace" "$pod" --container cassandra -- "$@"
}

save() {
    for pod in $pods; do
        on "$pod" nodetool snapshot --tag drill "$keyspace" </dev/null
        on "$pod" sh -c "cd '$data/$keyspace' && ls -d */snapshots/drill/*" </dev/null >"$1/files.tmp"
        while read -r file; do # such as session_ends-4a0c…/snapshots/drill/oa-1-big-Data.db
            mkdir -p "$1/$pod/${file%%-*}"
            on "$pod" cat "$data/$keyspace/$file" </dev/null >"$1/$pod/${file%%-*}/${file##*/}"
        done <"$1/files.tmp"
        rm "$1/files.tmp"
        on "$pod" nodetool clearsnapshot -t drill "$keyspace" </dev/null
    done
    echo "saved: $(find "$1" -name '*-Data.db' | wc -l) SSTables of $(echo "$pods" | wc -l) nodes"
}

restore() {
    imported=0
    for pod in $pods; do
        for table in "$1/$pod"/*/; do
            name=$(basename "$table")
            target=$data/../restore/$keyspace/$name
            on "$pod" mkdir -p "$target" </dev/null
            for file in "$table"*; do
                on "$pod" sh -c "cat > '$target/${file##*/}'" <"$file"
            done
            on "$pod" nodetool import "$keyspace" "$name" "$target" </dev/null
            on "$pod" rm -r "$target" </dev/null
            imported=$((imported + 1))
        done
    done
    echo "imported: $imported tables on $(echo "$pods" | wc -l) nodes"
}

case ${1:-} in
    save) mkdir -p "${2:?name a folder}" && save "$2" ;;
    restore) restore "${2:?name a folder}" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
