/** A failure in words of ours, which may be shown. */
export class Told extends Error {}
