#!/bin/sh
# Enforce NetworkPolicies until SIGTERM, then remove the rules, which would outlive the pod.

clean() { # kube-router --cleanup-config removes nothing in version 2.1
    iptables-save --table filter | grep -Ev 'KUBE-(ROUTER|POD-FW|NWPLCY)' | iptables-restore --table filter
    ipset list -name | grep -E '^(KUBE-(SRC|DST)|kube-router)-' | xargs -r -n 1 ipset destroy
}

echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables # so that traffic between pods of one node passes the rules
kube-router --run-firewall=true --run-router=false --run-service-proxy=false --run-loadbalancer=false &
agent=$!
trap 'kill $agent; wait $agent; clean; exit 0' TERM
wait $agent
