/** How the calls of a model are spread over its versions. */

export interface Weighted {
  readonly version: string
  weight: number
}

/** The weights when a version gets a share of the calls, from 0 to 1: the others keep their proportions. */
export const withShare = (
  versions: ReadonlyArray<Weighted>,
  version: string,
  share: number
): Record<string, number> => {
  const others = versions.filter((it) => it.version !== version && it.weight > 0)
  const sum = others.reduce((sum, { weight }) => sum + weight, 0)
  if (sum === 0) return { [version]: 1 }
  const weights: Record<string, number> = { [version]: share }
  for (const other of others) weights[other.version] = other.weight / sum * (1 - share)
  return weights
}

/** Chooses one by weight; `uniform` is from 0 to below 1. */
export const choose = <A extends Weighted>(versions: ReadonlyArray<A>, uniform: () => number): A | undefined => {
  const weighted = versions.filter(({ weight }) => weight > 0)
  if (weighted.length <= 1) return weighted[0]
  let rest = uniform() * weighted.reduce((sum, { weight }) => sum + weight, 0)
  return weighted.find(({ weight }) => (rest -= weight) < 0) ?? weighted.at(-1)
}
