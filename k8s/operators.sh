#!/bin/sh
# Install the operators of docs/k8ssandra.md where they are missing, or remove them in the right order.
#
#   sh k8s/operators.sh install    # Skaffold runs this before each deploy; it changes nothing when all is there
#   sh k8s/operators.sh remove     # deletes the K8ssandraCluster with its data, the operators and the namespace
#
# The operators are no releases of Skaffold's: `skaffold delete` would remove them before the objects whose
# finalizers wait for them. CERT_MANAGER_CHART and K8SSANDRA_CHART name other sources, such as a mirror.
set -eu

namespace=player-sessions
cert_manager_chart=${CERT_MANAGER_CHART:-oci://quay.io/jetstack/charts/cert-manager}
cert_manager_version=v1.20.2
k8ssandra_chart=${K8SSANDRA_CHART:-k8ssandra-operator --repo https://helm.k8ssandra.io/stable}
k8ssandra_version=1.32.5

kubectl() { command kubectl ${SKAFFOLD_KUBE_CONTEXT:+--context "$SKAFFOLD_KUBE_CONTEXT"} "$@"; }
helm() { command helm ${SKAFFOLD_KUBE_CONTEXT:+--kube-context "$SKAFFOLD_KUBE_CONTEXT"} "$@"; }

installed() { # RELEASE VERSION
    helm list --namespace "$1" --deployed --output json | grep -qF "\"chart\":\"$1-$2\""
}

clusters() { # print NAMESPACE/NAME of each K8ssandraCluster
    kubectl get crd k8ssandraclusters.k8ssandra.io >/dev/null 2>&1 || return 0
    kubectl get k8ssandraclusters --all-namespaces \
        --output 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'
}

install() {
    installed cert-manager $cert_manager_version ||
        helm upgrade --install cert-manager "$cert_manager_chart" --version $cert_manager_version \
            --namespace cert-manager --create-namespace --set crds.enabled=true --wait
    installed k8ssandra-operator $k8ssandra_version ||
        helm upgrade --install k8ssandra-operator $k8ssandra_chart --version $k8ssandra_version \
            --namespace k8ssandra-operator --create-namespace --set global.clusterScoped=true --wait
    kubectl get namespace $namespace >/dev/null 2>&1 || kubectl create namespace $namespace
    # A cluster that is being deleted would take what is applied to it with it.
    being_deleted=$(kubectl get k8ssandraclusters --namespace $namespace \
        --output 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}')
    for cluster in $being_deleted; do
        kubectl wait k8ssandracluster/"$cluster" --namespace $namespace --for=delete --timeout=10m
    done
}

remove() {
    others=$(clusters | grep -v "^$namespace/" || true)
    if [ -n "$others" ]; then
        echo "the operators stay, because other namespaces have clusters: $others" >&2
        exit 1
    fi
    if [ -n "$(clusters)" ]; then
        kubectl delete k8ssandraclusters --all --namespace $namespace --timeout=10m || {
            echo "see \"The namespace stays in Terminating\" in docs/k8ssandra.md" >&2
            exit 1
        }
    fi
    kubectl delete namespace $namespace --ignore-not-found --timeout=5m
    helm uninstall k8ssandra-operator --namespace k8ssandra-operator --ignore-not-found --wait
    helm uninstall cert-manager --namespace cert-manager --ignore-not-found --wait
}

case ${1:-} in
    install) install ;;
    remove) remove ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
