/** `--help` of the scripts. */

/** With `--help` or `-h` among the arguments, prints the text and ends the program. */
export const showHelp = (text: string): void => {
  if (!process.argv.slice(2).some((argument) => argument === "--help" || argument === "-h")) return
  console.log(text)
  process.exit(0)
}
