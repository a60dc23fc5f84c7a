# Sourced by the scripts that start processes: bash runs what stands in $(...) of a variable that it takes for a number.
# whole_numbers NAME...: end with status 2 if one of these variables is set to anything but a whole number from 1 on.
whole_numbers() {
  local name
  for name in "$@"; do
    if [[ -n ${!name:-} && ! ${!name} =~ ^[1-9][0-9]{0,8}$ ]]; then
      echo "error: $name='${!name}' is no whole number from 1 on" >&2
      exit 2
    fi
  done
}
