/** Why a file can't be used, in words that a person can act on. */
import type { PlatformError } from "effect/PlatformError"

const words: Readonly<Record<string, string>> = {
  EACCES: "this process has no permission",
  EISDIR: "it is a folder",
  ELOOP: "its links lead in a circle",
  ENOENT: "there is no such file or folder",
  ENOSPC: "the disk is full",
  ENOTDIR: "a part of its path is a file, not a folder",
  EPERM: "this process has no permission",
  EROFS: "the disk is read-only"
}

/** The reason, without the path. */
export const whyNot = ({ reason }: PlatformError): string => {
  const cause = "cause" in reason ? reason.cause : undefined
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : reason._tag
  return words[code] ?? code
}
