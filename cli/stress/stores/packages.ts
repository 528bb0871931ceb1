import type { StoreName } from '../options.ts'

/** Which package each store is; any of these will do. */
const PACKAGES: Record<StoreName, readonly [string, ...string[]]> = {
  // nedb-promises brings it along.
  nedb: ['@seald-io/nedb', 'nedb-promises'],
  'nedb-promises': ['nedb-promises'],
  lowdb: ['lowdb'],
}

/** The package that would have to be installed for a store; undefined where there is one. Loads nothing. */
export function missingPackage(store: StoreName): string | undefined {
  return PACKAGES[store].some(isInstalled) ? undefined : PACKAGES[store][0]
}

/** In one line, with what to type: pslock too, for under npx it may be nowhere but in a cache of npm's. */
export function missingText(store: StoreName, name: string): string {
  return `the store ${store} needs the package ${name}, which is not installed: npm install ${name} pslock`
}

function isInstalled(name: string): boolean {
  try {
    import.meta.resolve(name)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return false
    throw error
  }
}
