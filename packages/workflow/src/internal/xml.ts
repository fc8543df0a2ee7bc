/** The text without characters that XML or HTML read, or may not have. */
export const escaped = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cs}]/gu, " ").replace(/[&<>"']/g, (char) => `&#${char.codePointAt(0)};`)
