/**
 * Makes a scan easier to read: upright, straight, without grain, black on white.
 *
 * How far it is turned is measured, not known: of the angles tried, the one at which the rows of a small copy differ most in their ink is that of
 * the lines of text (projection profile; Postl 1986).
 */
import sharp from "sharp"

/** Degrees that are tried in each direction, and the width of the copy that they are tried on. */
const widest = 6
const probe = 500

/** Turning less than this costs more sharpness than it gains. */
const straight = 0.3

interface Pixels {
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
}

/** How much the rows differ in ink when each column is shifted by what a turn of the picture shifts it. */
const contrastOfRows = ({ data, height, width }: Pixels, degrees: number): number => {
  const slope = Math.tan(degrees * Math.PI / 180)
  let before = 0
  let sum = 0
  for (let y = 0; y < height; y++) {
    let ink = 0
    for (let x = 0; x < width; x++) {
      const from = y + Math.round((x - width / 2) * slope)
      ink += from < 0 || from >= height ? 0 : 255 - (data[from * width + x] ?? 255)
    }
    if (y > 0) sum += (ink - before) ** 2
    before = ink
  }
  return sum
}

/** Degrees by which lines of text fall to the right, to a tenth. */
const skewOf = (pixels: Pixels): number => {
  const best = (around: number, reach: number, step: number) => {
    const steps = Math.round(reach / step)
    const angles = Array.from({ length: 2 * steps + 1 }, (_, index) => around + (index - steps) * step)
    const contrasts = angles.map((angle) => contrastOfRows(pixels, angle))
    return angles[contrasts.indexOf(Math.max(...contrasts))] ?? 0
  }
  const angle = Math.round(best(best(0, widest, 0.5), 0.5, 0.1) * 10) / 10
  return Math.abs(angle) < straight ? 0 : angle
}

const paper = { background: "#fff" }

/** The bytes of an image, enhanced, and by how many degrees it was turned. */
export const enhance = async (image: Uint8Array): Promise<{ readonly image: Uint8Array; readonly turned: number }> => {
  const grey = await sharp(image, { limitInputPixels: 50_000_000 })
    .autoOrient()
    .flatten(paper)
    .median(3)
    .normalise()
    .toColourspace("b-w")
    .png({ compressionLevel: 1 })
    .toBuffer()
  const { data, info } = await sharp(grey).resize({ width: probe }).toColourspace("b-w").raw().toBuffer({
    resolveWithObject: true
  })
  const turned = 0 - skewOf({ data, width: info.width, height: info.height })
  const enhanced = await sharp(grey).rotate(turned, paper).toColourspace("b-w").jpeg({ quality: 92 }).toBuffer()
  return { image: enhanced, turned }
}
