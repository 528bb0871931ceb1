/** Whether a name on the command line is that of a store or a lock on a server. Loads nothing of what is needed for one. */
export function isServerUrl(text: string): boolean {
  return /^postgres(?:ql)?:\/\//i.test(text)
}
