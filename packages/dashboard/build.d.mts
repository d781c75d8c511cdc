export declare function buildPage(directory: URL): Promise<Map<string, Buffer>>;
