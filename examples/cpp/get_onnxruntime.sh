#!/usr/bin/env bash
# ONNX Runtime's C++ headers and shared library into FOLDER/include and FOLDER/lib, from a package of the npm registry
# that holds both in one version (MIT licence). Nothing is installed; an existing FOLDER is left as it is.
set -euo pipefail
folder=${1:?usage: get_onnxruntime.sh FOLDER}
package=com.github.asus4.onnxruntime@0.4.9

[ -f "$folder/lib/libonnxruntime.so.1" ] && exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "get_onnxruntime.sh knows Linux on x86_64 only; give CMake ONNXRUNTIME_ROOT" >&2; exit 2; }
command -v npm >/dev/null || { echo "npm is needed to fetch $package" >&2; exit 2; }

mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
archive=$(cd "$work" && npm pack --silent "$package" | tail -1)
tar -xzf "$work/$archive" -C "$work" --wildcards '*/ios-arm64/*/Headers/*.h' 'package/Plugins/Linux/x64/libonnxruntime.so' package/LICENSE
mkdir -p "$folder/include" "$folder/lib"
cp "$work"/package/Plugins/iOS~/*/ios-arm64/*/Headers/*.h "$folder/include/"
cp "$work/package/LICENSE" "$folder/"
cp "$work/package/Plugins/Linux/x64/libonnxruntime.so" "$folder/lib/libonnxruntime.so.1.partial"
mv "$folder/lib/libonnxruntime.so.1.partial" "$folder/lib/libonnxruntime.so.1"
ln -sf libonnxruntime.so.1 "$folder/lib/libonnxruntime.so"
