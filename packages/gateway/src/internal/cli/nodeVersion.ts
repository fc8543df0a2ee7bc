/** The oldest Node that the program runs on, as the published packages say in `engines`. This module runs on any. */
const oldest = [22, 19] as const

/** Why a version of Node, such as `20.20.2`, is too old; nothing for one that is not. */
export const tooOld = (version: string): string | undefined => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  const [oldestMajor, oldestMinor] = oldest
  return major > oldestMajor || major === oldestMajor && minor >= oldestMinor
    ? undefined
    : `ballast needs Node ${oldest.join(".")} or newer. This is Node ${version}.`
}
