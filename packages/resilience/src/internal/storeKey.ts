/**
 * The key that a shared policy's store knows: that of a caller, within the
 * policy's name. No two pairs of a name and a key have one in common.
 */
export const within = (name: string): (key: string) => string => {
  const prefix = `${name.replace(/[%:]/g, (char) => encodeURIComponent(char))}:`
  return (key) => prefix + key
}
