import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** Runs the statements of a file in this process and prints the first rows of its query: FILE ROWS. */
public class RunFlink {
    public static void main(String[] arguments) throws Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        tables.getConfig().set("parallelism.default", "1");
        tables.getConfig().setLocalTimeZone(java.time.ZoneOffset.UTC);
        String text = Files.readString(Path.of(arguments[0])).replaceAll("(?m)^--.*$", "");
        for (String statement : text.split(";")) {
            if (statement.strip().startsWith("SELECT")) {
                try (CloseableIterator<Row> rows = tables.executeSql(statement).collect()) {
                    for (int left = Integer.parseInt(arguments[1]); left > 0; left--) {
                        System.out.println("row: " + rows.next());
                    }
                }
            } else if (!statement.isBlank()) {
                tables.executeSql(statement);
            }
        }
        System.exit(0);
    }
}
