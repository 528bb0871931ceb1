/** A name of the program as words for people: "outOfOrder" is "out of order". */
export function words(name: string): string {
  return name.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}
