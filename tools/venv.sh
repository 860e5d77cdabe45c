# Make a virtual environment with the package in it; sourced by other scripts.
# Arguments: its folder and the package's extras. PYTHON names another interpreter.
make_venv() {
    local folder=$1 extras=$2 stamp
    # Installed once for each state of the requirements.
    stamp="$folder/installed-$(cat setup.cfg pyproject.toml | sha256sum | cut -c1-16)"
    if [ -f "$stamp" ]; then
        return
    fi
    echo "Installing esvit_plugin[$extras] into $folder; this takes a few minutes."
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --upgrade pip 'setuptools<81' wheel
    "$folder/bin/python" -m pip install --quiet --editable ".[$extras]"
    touch "$stamp"
}
